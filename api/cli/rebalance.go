package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) rebalanceCommand() *cli.Command {
	return &cli.Command{
		Name: "rebalance", Usage: "move a few tasks from full nodes to empty ones, as after a join or a resume",
		Description: "The scheduler chooses where they go. One task moves at a time: it ends, starts elsewhere, and is healthy there for\n" +
			"--up-for before the next one moves, so a service has all but one of its tasks; one that ends there ends it all. Left alone is what is frozen, on hold, of a gang or\n" +
			"not healthy, runs at most once, or would begin more than 5 minutes of work anew, and what has no other node.\n" +
			"It ends when no move would leave the new node as empty as the old one. Ctrl-C stops further moves.\n\n" +
			example("mesita rebalance --dry-run", "mesita rebalance --partition prod --max-moves 5"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "partition", Usage: "only tasks of partition `PATH` and those below it"},
			&cli.IntFlag{Name: "max-moves", Value: 20, Usage: "the most `N` tasks to move"},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would move, and do nothing"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "also services of one task, which nobody serves while it moves"},
			planFormatFlag(),
			option.SpanFlag("up-for", 3*time.Second, "`TIME` for which a moved task has to run until the next one moves"),
			option.SpanFlag("timeout", 5*time.Minute, "the most `TIME` to wait for each task"),
		},
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "rebalance"); err != nil {
				return err
			}
			if err := planFormat(c); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			p, err := cl.PlanRebalance(c.Context, c.String("partition"), c.Int("max-moves"))
			if e, ok := err.(*api.Error); ok && e.Field == "max_moves" {
				return option.InFlag("max-moves", err)
			}
			if err != nil {
				return err
			}
			if c.Bool("dry-run") {
				return one(a.out, c, p, movedTasks(p.Moves), func(w io.Writer) error { return printRebalance(w, p) })
			}
			return a.rebalance(c, cl, p)
		},
	}
}

// planFormatFlag is the format of what a dry run answers.
func planFormatFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "with --dry-run: `FORMAT`: table, wide, json, yaml or name"}
}

// planFormat refuses a format where nothing is printed in it.
func planFormat(c *cli.Context) error {
	if c.IsSet("output") && !c.Bool("dry-run") {
		return api.FieldErrorf("output", "is the format of a plan: give --dry-run with it, or leave it out")
	}
	_, err := format(c)
	return err
}

func printRebalance(w io.Writer, p *api.RebalancePlan) error {
	if len(p.Moves) == 0 {
		fmt.Fprintln(w, nothingToMove)
	} else if err := printMoves(w, p.Moves); err != nil {
		return err
	}
	rows := make([]*api.NodeLoad, len(p.Nodes))
	for i := range p.Nodes {
		rows[i] = &p.Nodes[i]
	}
	fmt.Fprintln(w)
	err := table(w, rows, []column[*api.NodeLoad]{
		{"NODE", func(n *api.NodeLoad) string { return n.Node }, false},
		{"FULL", func(n *api.NodeLoad) string { return percent(n.Now) }, false},
		{"THEN", func(n *api.NodeLoad) string { return percent(n.Then) }, false},
	}, false, true)
	for i, m := range p.Left {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s stays on %s: %s\n", m.Task, m.From, m.Why)
	}
	if p.More {
		fmt.Fprintln(w, moreMoves)
	}
	return err
}

const (
	nothingToMove = "nothing to move: no move would even nodes out further"
	moreMoves     = "! further moves would even nodes out more: run it again, or with a larger --max-moves"
)

// rebalance moves one task after the other.
func (a *app) rebalance(c *cli.Context, cl *client.Client, p *api.RebalancePlan) error {
	if len(p.Moves) == 0 {
		a.progress(nothingToMove)
		for _, m := range p.Left[:min(len(p.Left), 5)] {
			a.progress("%s stays on %s: %s", m.Task, m.From, m.Why)
		}
		return nil
	}
	if ok, err := a.mayBeAlone(c, p); !ok {
		return err
	}
	v := &mover{app: a, Client: cl, upFor: option.Span(c, "up-for"), timeout: option.Span(c, "timeout")}
	moved, stayed, failed := 0, 0, 0
	var err error
	for _, m := range p.Moves {
		begin, why := time.Now(), ""
		if why, err = v.move(c.Context, m); err != nil {
			break
		}
		if why != "" {
			stayed++
			a.progress("%s stays on %s: %s", m.Task, m.From, why)
			continue
		}
		moved++
		fmt.Fprintf(a.out, "%s  %s → %s  %.1fs\n", m.Task, m.From, m.To, time.Since(begin).Seconds())
	}
	text := api.Count(moved, "task") + " moved"
	if stayed > 0 {
		text += fmt.Sprintf(", %d stayed", stayed)
	}
	if v.told {
		failed = 1
		text += ", 1 was told to move and does not run as planned yet"
	}
	if rest := len(p.Moves) - moved - stayed - failed; rest > 0 {
		text += fmt.Sprintf(", %d not begun", rest)
	}
	a.progress("%s", text)
	switch {
	case c.Context.Err() != nil:
		return context.Cause(c.Context)
	case err == nil && p.More:
		a.progress(moreMoves)
	}
	return err
}

// mayBeAlone reports whether services may have no task while their only one moves.
func (a *app) mayBeAlone(c *cli.Context, p *api.RebalancePlan) (bool, error) {
	var alone []string
	for _, m := range p.Moves {
		if m.Alone {
			alone = append(alone, m.Job)
		}
	}
	switch {
	case len(alone) == 0 || c.Bool("yes"):
		return true, nil
	case !isTerminal(a.in) || !isTerminal(a.err):
		return false, api.Errorf(api.CodeConflict, "%s would have no task while it moves, as it ends before it starts elsewhere: --yes moves it all the same, --dry-run shows what would move", someOf(alone))
	case !a.agreed(c.Context, "%s would have no task while it moves, as it ends before it starts elsewhere.\nMove it all the same?", someOf(alone)):
		a.progress("nothing is done")
		return false, exitError(1)
	}
	return true, nil
}

// movedTasks are the names of what moves, a line each.
func movedTasks(moves []api.Move) string {
	var out []string
	for _, m := range moves {
		if m.To != "" {
			out = append(out, m.Task)
		}
	}
	return strings.Join(out, "\n")
}
