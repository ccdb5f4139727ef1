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
		Description: "The scheduler chooses where they go. One task moves at a time: it ends, starts elsewhere and is healthy there before\n" +
			"the next one moves, so a service has all but one of its tasks. Left alone is what is frozen, on hold, of a gang or\n" +
			"not healthy, runs at most once, or would begin more than 5 minutes of work anew, and what has no other node.\n" +
			"It ends when no move would leave the new node as empty as the old one. Ctrl-C stops further moves.\n\n" +
			example("mesita rebalance --dry-run", "mesita rebalance --partition prod --max-moves 5"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "partition", Usage: "only tasks of partition `PATH` and those below it"},
			&cli.IntFlag{Name: "max-moves", Value: 20, Usage: "the most `N` tasks to move"},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would move, and do nothing"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "also services of one task, which nobody serves while it moves"},
			planFormatFlag(),
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
	moved := 0
	for i, m := range p.Moves {
		if c.Context.Err() != nil {
			a.progress("stopped: %s moved, %d did not", api.Count(moved, "task"), len(p.Moves)-i)
			return nil
		}
		begin := time.Now()
		done, err := a.moveTask(c, cl, m)
		if err != nil {
			return err
		}
		if done {
			moved++
			fmt.Fprintf(a.out, "%s  %s → %s  %.1fs\n", m.Task, m.From, m.To, time.Since(begin).Seconds())
		}
	}
	if c.Context.Err() == nil {
		a.progress("%s moved: the fullest and the emptiest node were %s apart, and are %s", api.Count(moved, "task"), percent(p.Spread), percent(p.Then))
		if p.More {
			a.progress(moreMoves)
		}
	}
	return nil
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

// moveTask moves a task if it is as the plan has it, waits until it runs again, and
// reports whether it did.
func (a *app) moveTask(c *cli.Context, cl *client.Client, m api.Move) (bool, error) {
	if why, err := unlikePlanned(c.Context, cl, m); err != nil || why != "" {
		a.skipped(err, m, why)
		return false, err
	}
	if err := cl.StopTask(c.Context, m.Task, true); err != nil {
		return false, err
	}
	end := time.Now().Add(option.Span(c, "timeout"))
	for {
		t, err := cl.Task(c.Context, m.Task)
		switch {
		case c.Context.Err() != nil:
			a.progress("%s was told to move, and starts elsewhere by itself", m.Task)
			return false, nil
		case api.ErrorCode(err) == api.CodeNotFound || err == nil && t.State.Final():
			a.progress("%s has ended, and starts nowhere", m.Task)
			return false, nil
		case err != nil:
			return false, err
		case t.Attempt > m.Attempt && t.State == api.TaskRunning && (t.Healthy == nil || *t.Healthy):
			if t.Node != m.To {
				return false, api.Errorf(api.CodeConflict, "%s started on %s, not on %s as planned: the cluster has changed meanwhile; the moves after it are not made: run it again", m.Task, t.Node, m.To)
			}
			return true, nil
		case time.Now().After(end):
			return false, api.Errorf(api.CodeTimeout, "%s does not run again after %s; the moves after it are not made: `mesita why %s` says why", m.Task, option.Span(c, "timeout"), m.Task)
		}
		select {
		case <-c.Context.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (a *app) skipped(err error, m api.Move, why string) {
	if err == nil {
		a.progress("%s stays on %s: %s", m.Task, m.From, why)
	}
}

// unlikePlanned is why a task is not moved any more, as things have changed since the
// plan was made; "" if they have not.
func unlikePlanned(ctx context.Context, cl *client.Client, m api.Move) (string, error) {
	t, err := cl.Task(ctx, m.Task)
	switch {
	case api.ErrorCode(err) == api.CodeNotFound:
		return "it has ended", nil
	case err != nil:
		return "", err
	case t.Attempt != m.Attempt || t.Node != m.From || t.State != api.TaskRunning || t.Desired != api.DesiredRun:
		return "it is not as it was when the plan was made", nil
	}
	j, err := cl.Job(ctx, m.Job)
	if err == nil && j.Spec.Kind == api.KindService && j.Counts.Running < j.Spec.Tasks() {
		return "not all tasks of its job run now", nil
	}
	return "", err
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
