package cli

import (
	"fmt"

	"github.com/mesita/mesita/api"
	"github.com/urfave/cli/v2"
)

// queueRows is how many rows a table of what waits has if nobody says.
const queueRows = 50

const queueHelp = `PLACE is that of the row's first task among all tasks that wait, also those that you do not see; COUNT is how many tasks
the row has. SURE is what STARTS ABOUT is made of:
  promised  room is kept for it then
  limits    if what is before it takes as long as its --time allows
  runs      if what is before it takes as long as earlier runs did
  order     nobody knows when: its place alone is known
`

func (a *app) queueCommand() *cli.Command {
	return a.watched(&cli.Command{
		Name: "queue", Usage: "list what waits, a row for each job, in the order in which it will be served", ArgsUsage: "[PARTITION]",
		Description: queueHelp + example("mesita queue", "mesita queue ml -o wide", "mesita queue --limit 500", "mesita queue -o json"),
		Flags: readFlags(
			&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Usage: fmt.Sprintf("the first `NUMBER` of rows; without, a table has %d and the rest is counted, and other formats have all", queueRows)},
		),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 1, "queue [PARTITION]"); err != nil {
				return err
			}
			f, err := format(c)
			if err != nil {
				return err
			}
			rows := c.Int("limit")
			if c.IsSet("limit") && (rows < 1 || rows > api.MaxRows) {
				return usage("--limit (-n) %d is not within 1 to %d", rows, api.MaxRows)
			}
			if rows == 0 && (f == "table" || f == "wide") {
				rows = queueRows
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			queue, total, err := cl.Queue(c.Context, c.Args().First(), rows)
			if err != nil {
				return err
			}
			if err := list(a.out, c, queue, func(q *api.Queued) string { return q.Range() }, queueColumns); err != nil {
				return err
			}
			for _, q := range queue {
				total -= q.Count
			}
			if total > 0 {
				a.progress("and %s more: --limit NUMBER shows more rows, -o json all of them", api.Count(total, "task"))
			}
			return nil
		},
	})
}

var queueColumns = []column[*api.Queued]{
	{"PLACE", func(q *api.Queued) string { return fmt.Sprint(q.Position) }, false},
	{"TASKS", func(q *api.Queued) string { return q.Range() }, false},
	{"COUNT", func(q *api.Queued) string { return fmt.Sprint(q.Count) }, true},
	{"PARTITION", func(q *api.Queued) string { return q.Partition }, false},
	{"USER", func(q *api.Queued) string { return q.User }, true},
	{"NEEDS", func(q *api.Queued) string { return brief(api.AmountsOf(q.Resources), 3) }, true},
	{"AGE", func(q *api.Queued) string { return age(q.Submitted) }, true},
	{"STARTS ABOUT", startText, false},
	{"SURE", func(q *api.Queued) string { return string(q.Sure) }, false},
	{"WHY", func(q *api.Queued) string { return q.Reason }, false},
}

func startText(q *api.Queued) string {
	if q.Estimate.IsZero() {
		return ""
	}
	return clock(q.Estimate)
}
