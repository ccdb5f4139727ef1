package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/cli/specfile"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "run a service: keep N tasks running", ArgsUsage: "NAME -- COMMAND [ARG…]",
		Description: example("mesita run web -n 3 --cpus 0.25 --mem 128MiB -p http -- ./server --listen :{http}", "mesita run cache -c disk=ssd -- redis-server",
			"mesita run web --dry-run -o yaml -- ./server > web.yaml"),
		Flags: option.TaskFlags(
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the service, in place of the word before --"},
			&cli.IntFlag{Name: "count", Aliases: []string{"n"}, Value: 1, Usage: "`NUMBER` of tasks to keep running"},
			&cli.StringFlag{Name: "restart-delay", Usage: "`TIME` before the first restart; doubles (default 1s)"},
			&cli.StringFlag{Name: "restart-max-delay", Usage: "the longest `TIME` before a restart (default 1m)"},
			&cli.IntFlag{Name: "restart-attempts", Usage: "give up after so many failures in a row, `NUMBER` (default: never)"},
			upForFlag(),
			option.SpanFlag("timeout", 5*time.Minute, "the most `TIME` to wait for all tasks to run"),
		),
		Action: func(c *cli.Context) error {
			name, command := c.String("name"), c.Args().Slice()
			switch {
			case c.IsSet("name") && len(command) == 0:
				return usage("mesita run --name NAME -- COMMAND [ARG…]: no command given")
			case !c.IsSet("name") && len(command) < 2:
				return usage("mesita run NAME -- COMMAND [ARG…]: %s", missing("name", len(command)))
			case !c.IsSet("name"):
				name, command = command[0], command[1:]
			}
			count := c.Int("count")
			if count <= 0 {
				return api.FieldErrorf("count", "%d is not above zero", count)
			}
			s := &api.JobSpec{Name: name, Kind: api.KindService, Count: &count}
			p := option.Parser{C: c}
			s.Restart.Delay = option.Parse(&p, "restart-delay", api.ParseSpan)
			s.Restart.MaxDelay = option.Parse(&p, "restart-max-delay", api.ParseSpan)
			s.Restart.Attempts = c.Int("restart-attempts")
			if p.Err != nil {
				return p.Err
			}
			return a.submit(c, s, command, a.afterRun)
		},
	}
}

// submit fills a spec in, checks it, uploads its program and submits it.
func (a *app) submit(c *cli.Context, s *api.JobSpec, command []string, after func(*cli.Context, *client.Client, *api.Job) error) error {
	if err := option.FillTask(c, s, command); err != nil {
		return err
	}
	check := *s
	check.Normalize()
	if err := check.Validate(); err != nil { // before anything is uploaded
		return option.InFlag("", err)
	}
	if f, err := format(c); err != nil {
		return err
	} else if f == "yaml" && c.Bool("dry-run") && c.Command.Name != planVerb { // the file in place of the flags
		return specfile.Print(a.out, s)
	}
	cl, err := a.client(c)
	if err != nil {
		return err
	}
	would, before := promised{}, named(s)
	if err := a.uploadFiles(c, cl, s, ""); err != nil {
		return option.InFlag("", err)
	}
	if c.Bool("dry-run") {
		if err := differs(c, cl, s); err != nil {
			return err
		}
		would.add(s, before)
		return a.plan(c, cl, s, would)
	}
	a.warnAffinity(c, cl, &check)
	if err := a.upload(c, cl, s, ""); err != nil {
		return err
	}
	j, err := cl.Submit(c.Context, s)
	if err != nil {
		return err
	}
	return after(c, cl, j)
}

// warnAffinity says which jobs a job must be near that do not exist: until they
// do, it waits.
func (a *app) warnAffinity(c *cli.Context, cl *client.Client, s *api.JobSpec) {
	for _, near := range s.Affinity {
		if near.Away || near.Soft || near.Job == s.Name {
			continue
		}
		if _, err := cl.Job(c.Context, near.Job); api.ErrorCode(err) == api.CodeNotFound {
			a.progress("! it must run near job %s (--affinity), and there is no such job: it waits until there is", near.Job)
		}
	}
}

// differs refuses, before anything is done, a job that a submission would be
// refused for: one of its name that continues, and is another. A program that is
// not uploaded yet has no digest to compare.
func differs(c *cli.Context, cl *client.Client, s *api.JobSpec) error {
	if s.Name == "" {
		return nil
	}
	old, err := cl.Job(c.Context, s.Name)
	if api.ErrorCode(err) == api.CodeNotFound || err == nil && old.State.Ended() {
		return nil
	}
	if err != nil {
		return err
	}
	is, want := *old.Spec, *s
	is.Program = s.Program
	// What is left out the cluster knows, of the job or its partition.
	want.CPUs, want.Mem, want.Time = cmp.Or(want.CPUs, is.CPUs), cmp.Or(want.Mem, is.Mem), cmp.Or(want.Time, is.Time)
	want.Normalize()
	want.Constraints, want.Prefer = api.MarkVersions(want.Constraints, is.Constraints, true), api.MarkVersions(want.Prefer, is.Prefer, true)
	if want.User == "" {
		want.User = is.User // the cluster settled it, and compares it
	}
	if is.NeedsRootNode() {
		want.OnlyWhereRoot() // likewise
	}
	if reflect.DeepEqual(&is, &want) {
		return nil
	}
	return api.Errorf(api.CodeConflict, "job %q exists and differs: change it with `mesita apply`, stop it, or choose another name", s.Name)
}

func (a *app) plan(c *cli.Context, cl *client.Client, s *api.JobSpec, would promised) error {
	p, err := cl.Plan(c.Context, s)
	if err != nil {
		return err
	}
	if err := would.keeps(s, p); err != nil {
		return option.InFlag("", err)
	}
	return one(a.out, c, p, p.Job, func(w io.Writer) error { return printPlan(w, p) })
}

func printPlan(w io.Writer, p *api.Plan) error {
	fmt.Fprintf(w, "plan  %s %s: %s", p.Action, or(p.Job, "a job"), api.Count(p.Tasks, "task"))
	if on := p.Fits - p.Starts; on > 0 || p.Action == "nothing" {
		fmt.Fprintf(w, ", %d run on as they are", on)
	}
	if p.Action != "nothing" {
		fmt.Fprintf(w, ", %d would start now", p.Starts)
	}
	if p.Waiting > 0 {
		fmt.Fprintf(w, ", %d would wait", p.Waiting)
	}
	fmt.Fprintln(w)
	for _, x := range p.Changes {
		fmt.Fprintf(w, "  %s\n", x)
	}
	if p.RunAs != "" {
		fmt.Fprintf(w, "  %-20s %s\n", "runs as", p.RunAs)
	}
	for _, n := range p.Nodes {
		fmt.Fprintf(w, "  %-20s %d\n", n.Node, n.Tasks)
	}
	var ways []string
	for _, g := range p.GiveWay {
		how := "ends"
		if g.Freeze {
			how = "is frozen"
		}
		if g.Notice > 0 {
			how = "ends after " + g.Notice.String() + " of notice"
		}
		ways = append(ways, fmt.Sprintf("%s of partition %s %s", g.Task, g.Partition, how))
	}
	for _, x := range []struct {
		what  string
		tasks []string
	}{{"restarted", p.Restarts}, {"stopped", p.Stops}, {"preempted", ways}} {
		if len(x.tasks) > 0 {
			fmt.Fprintf(w, "  %-20s %s\n", x.what, someOf(x.tasks))
		}
	}
	for _, x := range p.Warnings {
		fmt.Fprintf(w, "! %s\n", x)
	}
	return nil
}

// printJob is the result of a command that changed a job.
func (a *app) printJob(c *cli.Context, j *api.Job) error {
	if c.Bool("quiet") {
		fmt.Fprintln(a.out, j.ID)
		return nil
	}
	return one(a.out, c, j, j.ID, func(w io.Writer) error {
		text := fmt.Sprintf("%s v%d   %s", j.ID, j.Version, jobCounts(j))
		if state := jobState(j); !strings.HasSuffix(text, " "+state) {
			text += "   " + paint(w, state)
		}
		_, err := fmt.Fprintln(w, text)
		return err
	})
}

func jobCounts(j *api.Job) string {
	if j.Spec.Kind == api.KindService {
		return fmt.Sprintf("%d/%d running", j.Counts.Running, j.Spec.Tasks())
	}
	return countsText(j.Counts)
}

// countsText says how many of those tasks are how.
func countsText(n api.JobCounts) string {
	var out []string
	for _, part := range []struct {
		n    int
		what string
	}{{n.Running, "running"}, {n.Pending + n.Starting, "waiting"}, {n.Finished, "finished"}, {n.Failed, "failed"}, {n.Stopped, "stopped"}} {
		if part.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	return or(strings.Join(out, ", "), "none yet")
}

// afterRun waits until all tasks of the service run.
func (a *app) afterRun(c *cli.Context, cl *client.Client, j *api.Job) error {
	if c.Bool("detach") {
		return a.printJob(c, j)
	}
	if err := startsNothing(j); err != nil {
		return err
	}
	got, err := a.await(c, cl, j.ID, option.Span(c, "timeout"), lasting(option.Span(c, "up-for"), func(j *api.Job) bool {
		return j.Counts.Running >= j.Spec.Tasks() && j.Counts.Total() == j.Spec.Tasks() && replaced(c, cl, j)
	}))
	if err != nil || got == nil {
		if api.ErrorCode(err) == api.CodeTimeout {
			a.explain(c.Context, cl, j.ID)
		}
		return err
	}
	if err := a.printJob(c, got); err != nil {
		return err
	}
	if got.State == api.JobFailed {
		a.explain(c.Context, cl, j.ID)
		return exitError(1)
	}
	return nil
}

func (a *app) jobCommand() *cli.Command {
	return &cli.Command{
		Name: "job", Usage: "batch jobs and services",
		Description: example("mesita job submit --array 0-99 -- ./train.sh", "mesita job ls"),
		Subcommands: []*cli.Command{a.jobSubmit(), a.jobPlan(), a.jobLs(), a.jobWait(), a.jobHold(), a.jobRelease(), a.jobRequeue(), a.jobSet(), a.jobRm(),
			rename(a.showCommand(), "show", "mesita job show 57"), rename(a.stopCommand(), "stop", "mesita job stop 57")},
	}
}

func rename(c *cli.Command, name, ex string) *cli.Command {
	c.Name, c.Description = name, example(ex)
	return c
}

func (a *app) jobSubmit() *cli.Command {
	return &cli.Command{
		Name: "submit", Usage: "submit a batch job: it runs to completion", ArgsUsage: "-- COMMAND [ARG…]",
		Description: example("mesita job submit --array 0-99 --cpus 1 --mem 2GiB --time 20m --retries 2 -- ./train.sh", "mesita job submit --wait -- /bin/sh -c 'exit 7'    # exits with 7"),
		Flags: option.TaskFlags(
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the job (default: it gets a number)"},
			&cli.StringFlag{Name: "array", Usage: "`FIRST-LAST` index of an array of tasks"},
			&cli.IntFlag{Name: "gang", Usage: "`NUMBER` of tasks that start together or not at all"},
			&cli.IntFlag{Name: "retries", Usage: "`NUMBER` of further attempts after a failure"},
			&cli.StringFlag{Name: "time", Usage: "the most `TIME` one attempt may take"},
			&cli.BoolFlag{Name: "wait", Usage: "wait for the end, and exit with the job's exit code: of the task that failed first"},
			option.SpanFlag("timeout", 0, "the most `TIME` to wait (default: no limit)"),
		),
		Action: func(c *cli.Context) error {
			if c.NArg() < 1 {
				return usage("mesita job submit -- COMMAND [ARG…]: no command given")
			}
			s := &api.JobSpec{Name: c.String("name"), Kind: api.KindBatch, Array: c.String("array"), Gang: c.Int("gang"), Retries: c.Int("retries")}
			if c.IsSet("gang") && s.Gang == 0 {
				return api.FieldErrorf("gang", "0 is not within 1 to %d: leave it out for a job that is not a gang", api.MaxGang)
			}
			p := option.Parser{C: c}
			s.Time = option.Parse(&p, "time", api.ParseSpan)
			if p.Err != nil {
				return p.Err
			}
			return a.submit(c, s, c.Args().Slice(), func(c *cli.Context, cl *client.Client, j *api.Job) error {
				if !c.Bool("wait") || c.Bool("detach") {
					if !c.Bool("quiet") {
						a.progress("submitted job %s: %s", j.ID, api.Count(j.Spec.Tasks(), "task"))
					}
					return a.printID(c, j)
				}
				return a.waitEnd(c, cl, j.ID)
			})
		},
	}
}

const planVerb = "plan"

// jobPlan is submit that always stops before it submits.
func (a *app) jobPlan() *cli.Command {
	cmd := a.jobSubmit()
	cmd.Name, cmd.Usage = planVerb, "say where the tasks of a job would go, and what would wait"
	cmd.Description = example("mesita job plan --gang 4 --cpus 2 --mem 4GiB -- ./merge.sh", "mesita job plan --array 0-99 --spread zone -o json -- ./train.sh")
	submit := cmd.Action
	cmd.Action = func(c *cli.Context) error {
		if err := c.Set("dry-run", "true"); err != nil {
			return err
		}
		return submit(c)
	}
	return cmd
}

func (a *app) printID(c *cli.Context, j *api.Job) error {
	if f, err := format(c); err != nil || f != "table" && f != "name" {
		return errors.Join(err, a.printJob(c, j))
	}
	fmt.Fprintln(a.out, j.ID)
	return nil
}

func (a *app) jobWait() *cli.Command {
	return &cli.Command{
		Name: "wait", Usage: "wait for the end of a job, and exit with its exit code", ArgsUsage: "JOB",
		Description: example("mesita job wait 57 --timeout 1h"),
		Flags:       readFlags(option.SpanFlag("timeout", 0, "the most `TIME` to wait (default: no limit)")),
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "job wait JOB"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			if id := c.Args().First(); strings.Contains(id, ".") {
				if t, err := cl.Task(c.Context, id); err == nil {
					return usage("%s is a task: wait for its job, with `mesita job wait %s`", id, t.Job)
				}
			}
			return a.waitEnd(c, cl, c.Args().First())
		},
	}
}

// replaced reports whether all tasks of a service are of its newest version.
func replaced(c *cli.Context, cl *client.Client, j *api.Job) bool {
	if j.Version == 1 || j.Spec.Kind != api.KindService {
		return true
	}
	tasks, err := cl.Tasks(c.Context, j.ID, "", false)
	return err == nil && !slices.ContainsFunc(tasks, func(t *api.Task) bool { return t.Version != j.Version })
}

func (a *app) jobLs() *cli.Command {
	return a.watched(&cli.Command{
		Name: "ls", Usage: "list jobs", Description: example("mesita job ls", "mesita job ls -l team=web", "mesita job ls --all --sort -ended --limit 20", "mesita job ls --all -o json"),
		Flags: readFlags(
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "also those that ended"},
			labelFlag("the label"),
			&cli.StringFlag{Name: "sort", Usage: "by this `FIELD` of their JSON, with - before it the other way round; without, as they were submitted"},
			limitFlag(),
		),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "job ls"); err != nil {
				return err
			}
			limit, err := readLimit(c, api.MaxRows)
			if err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			return a.listJobs(c, cl, limit)
		},
	})
}

// listJobs prints the first jobs, or all with 0, of which a table has only so many.
func (a *app) listJobs(c *cli.Context, cl *client.Client, limit int) error {
	f, err := format(c)
	if err != nil {
		return err
	}
	isTable := f == "table" || f == "wide"
	if limit == 0 && isTable {
		limit = tableRows
	}
	jobs, total, err := cl.FindJobs(c.Context, client.JobQuery{All: c.Bool("all"), Labels: c.StringSlice("label"), Sort: c.String("sort"), Limit: limit})
	if err != nil {
		return err
	}
	if err := list(a.out, c, jobs, func(j *api.Job) string { return j.ID }, jobColumns); err != nil {
		return err
	}
	if isTable {
		a.counted(total - len(jobs))
	}
	return nil
}

var jobColumns = []column[*api.Job]{
	{"JOB", func(j *api.Job) string { return j.ID }, false},
	{"KIND", func(j *api.Job) string { return j.Spec.Kind.String() }, false},
	{"STATE", jobState, false},
	{"TASKS", jobCounts, false},
	{"VERSION", func(j *api.Job) string { return fmt.Sprint(j.Version) }, true},
	{"PARTITION", func(j *api.Job) string { return j.Spec.Partition }, true},
	{"BY", func(j *api.Job) string { return j.Actor }, true},
	{"LABELS", labelsText, true},
	{"AGE", func(j *api.Job) string { return age(j.Created) }, false},
}
