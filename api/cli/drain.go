package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) nodeDrain() *cli.Command {
	flags := []cli.Flag{
		option.SpanFlag("deadline", 0, "`TIME` by which the node is empty, whatever still runs (default: batch tasks may end)"),
		&cli.BoolFlag{Name: "detach", Usage: "do not wait"},
		&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "also if there is no other node for some of its tasks"},
		&cli.BoolFlag{Name: "dry-run", Usage: "say where each task would go, and do nothing"},
		planFormatFlag(),
		option.SpanFlag("timeout", 0, "the most `TIME` to wait (default: no limit)"),
	}
	return a.onNode("drain", "move all tasks away from a node", "mesita node drain fir --deadline 10m", flags, func(c *cli.Context, cl *client.Client, n *api.NodeStatus) error {
		if err := planFormat(c); err != nil {
			return err
		}
		if c.Bool("dry-run") {
			return a.wouldDrain(c, cl, n, option.Span(c, "deadline"))
		}
		if ok, err := a.mayEmpty(c, cl, n, option.Span(c, "deadline"), "drain it"); !ok {
			return err
		}
		if err := cl.Drain(c.Context, n.Name, option.Span(c, "deadline")); err != nil || c.Bool("detach") {
			return err
		}
		return a.awaitEmpty(c, cl, n)
	})
}

// heldOnly is an error if nothing is left on a node but services on hold, which stay on
// it: a drain without a deadline would wait for them for ever.
func heldOnly(ctx context.Context, cl *client.Client, n *api.NodeStatus) error {
	tasks, err := cl.Tasks(ctx, "", n.Name, false)
	if err != nil || len(tasks) < n.Tasks {
		return err // what is not shown may end
	}
	held := map[string]bool{}
	for _, t := range tasks {
		if held[t.Job] {
			continue
		}
		j, err := cl.Job(ctx, t.Job)
		if err != nil || !j.Hold || j.Spec.Kind != api.KindService {
			return err
		}
		held[t.Job] = true
	}
	names := slices.Sorted(maps.Keys(held))
	return api.Errorf(api.CodeConflict, "%s still runs %s of services on hold, which stay there: `mesita job release %s` has them move, `mesita node drain %s --deadline 10m` ends them; the drain continues", n.Name, api.Count(len(tasks), "task"), strings.Join(names, " "), n.Name)
}

func (a *app) awaitEmpty(c *cli.Context, cl *client.Client, n *api.NodeStatus) error {
	begin, left, steady, away := time.Now(), -1, 0, false
	for {
		now, err := cl.Node(c.Context, n.Name)
		if err == nil && now.Away && !away {
			a.progress("%s is %s: the drain continues when its daemon is back", n.Name, nodeState(now, cl.Now()))
		}
		away = err == nil && now.Away
		switch {
		case c.Context.Err() != nil:
			a.progress("detached; the drain of %s continues: see `mesita node show %s`", n.Name, n.Name)
			return nil
		case err != nil:
			return err
		case now.Tasks == 0:
			fmt.Fprintf(a.out, "%s is empty\n", n.Name)
			return nil
		case now.Silent():
			return api.Errorf(api.CodeTimeout, "%s is %s and cannot be drained: it has %s; the drain continues when it is back", n.Name, now.State, api.OnceText(n.Name, now.Tasks))
		case option.Span(c, "timeout") > 0 && time.Since(begin) > option.Span(c, "timeout"):
			return api.Errorf(api.CodeTimeout, "%s still runs %s after %s; the drain continues: see `mesita node show %s`", n.Name, api.Count(now.Tasks, "task"), option.Span(c, "timeout"), n.Name)
		case now.Tasks != left:
			left, steady = now.Tasks, 0
			a.progress("%s: %s left", n.Name, api.Count(left, "task"))
		}
		if steady++; steady%10 == 2 && now.DrainBy.IsZero() { // only its tasks and their jobs tell
			if err := heldOnly(c.Context, cl, now); err != nil {
				return err
			}
		}
		select {
		case <-c.Context.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// wouldDrain prints where the tasks of a node would go.
func (a *app) wouldDrain(c *cli.Context, cl *client.Client, n *api.NodeStatus, deadline time.Duration) error {
	p, err := cl.PlanDrain(c.Context, n.Name, deadline)
	if olderLeader(err, "dry_run") {
		return api.Errorf(api.CodeConflict, cannotSay+": nothing is done; upgrade mesita there first", n.Name)
	}
	if err != nil {
		return err
	}
	if c.IsSet("output") {
		err = one(a.out, c, p, movedTasks(p.Moves), func(w io.Writer) error { return printMoves(w, p.Moves) })
	} else {
		err = printMoves(a.out, p.Moves)
	}
	a.progress("would drain %s: %s", n.Name, drainText(p))
	if len(p.GiveWay) > 0 {
		a.progress("! %s would be preempted for them", api.Count(len(p.GiveWay), "task"))
	}
	if p.Partial {
		a.progress("! more would happen than is looked at: this is only how it begins")
	}
	return err
}

func printMoves(w io.Writer, moves []api.Move) error {
	if len(moves) == 0 {
		return nil
	}
	rows := make([]*api.Move, len(moves))
	for i := range moves {
		rows[i] = &moves[i]
	}
	return table(w, rows, []column[*api.Move]{
		{"TASK", func(m *api.Move) string { return m.Task }, false},
		{"FROM", func(m *api.Move) string { return m.From }, false},
		{"TO", func(m *api.Move) string { return whereMoved(m) }, false},
		{"WHY", func(m *api.Move) string { return or(whyMoves(m), "-") }, false},
	}, false, true)
}

// whereMoved is where a task goes, or that it does not.
func whereMoved(m *api.Move) string {
	switch {
	case m.To != "":
		return m.To
	case m.Stays:
		return "stays"
	case m.Ends:
		return "ends"
	}
	return "waits"
}

func whyMoves(m *api.Move) string {
	var all []string
	if m.Why != "" {
		all = append(all, m.Why)
	}
	if m.To != "" && m.Loses > 0 {
		all = append(all, "begins "+m.Loses.String()+" of work anew")
	}
	if m.To != "" && m.Alone {
		all = append(all, m.Job+" has no other task meanwhile")
	}
	return strings.Join(all, "; ")
}

// drainText says in one line what becomes of the tasks of a node.
func drainText(p *api.DrainPlan) string {
	to := map[string]int{}
	stay, end, wait := 0, 0, 0
	for i := range p.Moves {
		switch m := &p.Moves[i]; {
		case m.To != "":
			to[m.To]++
		case m.Stays:
			stay++
		case m.Ends:
			end++
		default:
			wait++
		}
	}
	text := api.Count(len(p.Moves)+p.More, "task")
	var parts []string
	for _, node := range slices.Sorted(maps.Keys(to)) {
		parts = append(parts, fmt.Sprintf("%d to %s", to[node], node))
	}
	if stay > 0 {
		parts = append(parts, fmt.Sprintf("%d %s for now", stay, oneOr(stay, "stays", "stay")))
	}
	if end > 0 {
		parts = append(parts, fmt.Sprintf("%d of a framework %s", end, oneOr(end, "ends", "end")))
	}
	if wait > 0 {
		parts = append(parts, fmt.Sprintf("%d %s no other node", wait, oneOr(wait, "has", "have")))
	}
	if p.More > 0 {
		parts = append(parts, fmt.Sprintf("%d not listed", p.More))
	}
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	return text
}

// oneOr is the first word for one, else the second.
func oneOr(n int, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

// mayEmpty reports whether the tasks of a node may be taken off it: they have other nodes to
// go to, or whoever asks for it agrees that some will wait. It says where they go.
func (a *app) mayEmpty(c *cli.Context, cl *client.Client, n *api.NodeStatus, deadline time.Duration, what string) (bool, error) {
	if c.Bool("yes") || n.Tasks == 0 || n.Silent() {
		return true, nil
	}
	p, err := cl.PlanDrain(c.Context, n.Name, deadline)
	switch {
	case olderLeader(err, "dry_run"):
		a.progress("! "+cannotSay, n.Name)
		return true, nil
	case err != nil:
		return false, err
	}
	if p.Nowhere == 0 && !p.Partial {
		a.progress("%s: %s", n.Name, drainText(p))
		return true, nil
	}
	text := nowhereText(p)
	if !isTerminal(a.in) || !isTerminal(a.err) {
		by := "" // what is listed depends on it
		if deadline > 0 {
			by = " --deadline " + deadline.String()
		}
		return false, api.Errorf(api.CodeConflict, "%s; --yes does it all the same, `mesita node drain %s%s --dry-run` lists all", text, n.Name, by)
	}
	if !a.agreed(c.Context, "%s\n%s all the same?", text, strings.ToUpper(what[:1])+what[1:]) {
		a.progress("nothing is done")
		return false, exitError(1)
	}
	return true, nil
}

// nowhereText says what of a drain has no other node, or may have none: nobody knows of
// what was not looked at.
func nowhereText(p *api.DrainPlan) string {
	all := len(p.Moves) + p.More
	if p.Nowhere == 0 {
		return fmt.Sprintf("%s on %s may have no other node to run on: more would happen than is looked at", api.Count(all, "task"), p.Node)
	}
	text := fmt.Sprintf("%s of %d on %s would have no other node to run on", api.Count(p.Nowhere, "task"), all, p.Node)
	for _, m := range p.Moves {
		if m.To == "" && !m.Stays && !m.Ends {
			text += fmt.Sprintf(", the first is %s: %s", m.Task, m.Why)
			break
		}
	}
	if p.Partial {
		text += "; others may have none either, as more would happen than is looked at"
	}
	return text
}

const cannotSay = "the leader runs an older mesita, which cannot say where the tasks of %s go"

// olderLeader reports whether a request was refused by who does not know a parameter of it.
func olderLeader(err error, param string) bool {
	e, ok := err.(*api.Error)
	return ok && e.Code == api.CodeInvalid && e.Field == param
}
