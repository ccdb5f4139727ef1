package cli

import (
	"fmt"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

// tableRows is how many rows a table of tasks or jobs has if nobody says.
const tableRows = 1000

func limitFlag() *cli.IntFlag {
	return &cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Usage: fmt.Sprintf("the first `NUMBER`; without, a table has %d rows and the rest is counted, and other formats have all", tableRows)}
}

// readLimit is 0 if none is given.
func readLimit(c *cli.Context, most int) (int, error) {
	n := c.Int("limit")
	if c.IsSet("limit") && (n < 1 || n > most) {
		return 0, api.FieldErrorf("limit", "%d is not within 1 to %d", n, most)
	}
	return n, nil
}

// counted says how many there are beyond the rows of a table.
func (a *app) counted(rest int) {
	if rest > 0 {
		a.progress("and %d more: --limit NUMBER shows more rows, -o json and -q all of them", rest)
	}
}

func (a *app) psCommand() *cli.Command {
	return a.watched(&cli.Command{
		Name: "ps", Usage: "list tasks; a table has those that wait and differ in their number alone as one row", ArgsUsage: "[JOB]",
		Description: example("mesita ps", "mesita ps web -o wide", "mesita ps -l team=web", "mesita ps --sort -created --limit 20", "mesita ps --all --node oak -o json"),
		Flags: readFlags(
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "also those that ended"},
			&cli.StringFlag{Name: "node", Usage: "only those on this `NODE`"},
			&cli.StringFlag{Name: "framework", Usage: "only those of this `FRAMEWORK`"},
			labelFlag("the job's label"),
			&cli.StringFlag{Name: "sort", Usage: "by this `FIELD` of their JSON, with - before it the other way round; without, by job and index"},
			limitFlag(),
		),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 1, "ps [JOB]"); err != nil {
				return err
			}
			want := client.TaskQuery{Job: c.Args().First(), Node: c.String("node"), All: c.Bool("all"), Labels: c.StringSlice("label"), Sort: c.String("sort")}
			var err error
			if want.Limit, err = readLimit(c, api.MostRows(want.Sort)); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			if c.IsSet("framework") {
				f, err := findFramework(c.Context, cl, c.String("framework"))
				if err != nil {
					return err
				}
				if want.Framework = f.ID; want.Job != "" {
					return usage("mesita ps JOB, or mesita ps --framework FRAMEWORK: not both, as what a framework runs are jobs of its own")
				}
			}
			return a.ps(c, cl, want)
		},
	})
}

func (a *app) ps(c *cli.Context, cl *client.Client, want client.TaskQuery) error {
	f, err := format(c)
	if err != nil {
		return err
	}
	if f != "table" && f != "wide" {
		tasks, err := cl.FindTasks(c.Context, want)
		if err == nil && len(tasks) == 0 {
			err = isJob(c, cl, want.Job)
		}
		if err != nil {
			return err
		}
		return list(a.out, c, tasks, func(t *api.Task) string { return t.ID }, nil)
	}
	if want.Limit == 0 {
		want.Limit = tableRows
	}
	runs, total, err := cl.TaskRuns(c.Context, want, want.Limit)
	if err == nil && len(runs) == 0 {
		err = isJob(c, cl, want.Job)
	}
	if err != nil {
		return err
	}
	first := make([]*api.Task, len(runs))
	for i, r := range runs {
		first[i] = r.Task
	}
	if err := list(a.out, c, runs, taskRange, runColumns(taskColumns(c.Context, cl, first))); err != nil {
		return err
	}
	for i := range runs {
		total -= runs[i].Count
	}
	a.counted(total)
	return nil
}

// isJob is nil if there is such a job, or none is asked for.
func isJob(c *cli.Context, cl *client.Client, id string) error {
	if id == "" {
		return nil
	}
	_, err := cl.Job(c.Context, id)
	return err
}

func taskRange(r api.TaskRun) string {
	if r.Count == 1 {
		return r.ID
	}
	return r.ID + "-" + api.TaskID(r.Job, r.Through)
}

// runColumns are those of tasks, of which several may be one row.
func runColumns(cols []column[*api.Task]) []column[api.TaskRun] {
	out := make([]column[api.TaskRun], len(cols))
	for i, of := range cols {
		out[i] = column[api.TaskRun]{of.head, func(r api.TaskRun) string { return of.get(r.Task) }, of.wide}
		switch of.head {
		case "TASK":
			out[i].get = taskRange
		case "STATE":
			out[i].get = func(r api.TaskRun) string {
				if r.Count == 1 {
					return of.get(r.Task)
				}
				return fmt.Sprintf("%s (%d)", of.get(r.Task), r.Count)
			}
		}
	}
	return out
}
