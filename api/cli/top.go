package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

// firstSpan is from the begin of the first look to that of the second: what a task uses is
// counted to the microsecond, and by when its counter was read. It is the kernel's period,
// in which a task that is held to a quota runs once: less or half as much more would see
// it once or not at all.
const firstSpan = 100 * time.Millisecond

const topHelp = `On a terminal it continues; keys are q to leave, arrows and Page Up and Down to move,
and c, m, p, t, n to sort by cpu, mem, processes, throttled and name.

`

func (a *app) topCommand() *cli.Command {
	return &cli.Command{
		Name: "top", Usage: "show what the running tasks use", Description: topHelp + example("mesita top", "mesita top --sort mem --node oak", "mesita top --once -o json"),
		Flags: readFlags(
			&cli.StringFlag{Name: "sort", Value: "cpu", Usage: "by this `KEY`: " + strings.Join(topKeys(), ", ") + "; with - before it the other way round"},
			&cli.StringFlag{Name: "node", Usage: "only those on this `NODE`"},
			&cli.BoolFlag{Name: "once", Usage: "print one table (the default when not on a terminal)"},
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "keep watching (the default on a terminal)"},
			option.SpanFlag("interval", 2*time.Second, "`TIME` between two looks"),
		),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "top"); err != nil {
				return err
			}
			order, err := topOrderOf(c.String("sort"))
			if err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			return a.top(c, &usageLooks{cl: cl, node: c.String("node"), order: order})
		},
	}
}

type usageRow struct {
	api.TaskStats
	Cores float64 `json:"cores"` // busy, on average between the two looks
}

// topOrders are what rows are sorted by: the most first, or names as in an index.
var topOrders = []struct {
	name string
	key  byte // on a terminal
	less func(x, y *usageRow) int
}{
	{"cpu", 'c', func(x, y *usageRow) int { return cmp.Compare(y.Cores, x.Cores) }},
	{"mem", 'm', func(x, y *usageRow) int { return cmp.Compare(y.Mem, x.Mem) }},
	{"processes", 'p', func(x, y *usageRow) int { return cmp.Compare(y.Processes, x.Processes) }},
	{"throttled", 't', func(x, y *usageRow) int { return cmp.Compare(y.Throttled, x.Throttled) }},
	{"name", 'n', func(x, y *usageRow) int { return cmp.Compare(x.Task, y.Task) }},
	{"node", 0, func(x, y *usageRow) int { return cmp.Compare(x.Node, y.Node) }},
}

func topKeys() (out []string) {
	for _, o := range topOrders {
		out = append(out, o.name)
	}
	return out
}

// topOrder is one of them, or its reverse.
type topOrder struct {
	at   int
	back bool
}

func topOrderOf(s string) (o topOrder, err error) {
	name, back := strings.CutPrefix(s, "-")
	o = topOrder{slices.Index(topKeys(), name), back}
	if o.at < 0 {
		return o, api.FieldErrorf("sort", "%q is none of %s", name, strings.Join(topKeys(), ", "))
	}
	return o, nil
}

func (o topOrder) compare(x, y *usageRow) int {
	n := topOrders[o.at].less(x, y)
	if o.back {
		n = -n
	}
	return cmp.Or(n, cmp.Compare(x.Task, y.Task))
}

// usageLooks tells what tasks used between two looks.
type usageLooks struct {
	cl     *client.Client
	node   string // "" = all
	order  topOrder
	old    map[string]sample
	rows   []*usageRow
	silent []client.SilentNode
	nodes  []*api.NodeStatus // of a table, where one may see them
	table  bool
	detail api.StatsDetail
}

// sample is what a task had used at a time.
type sample struct {
	api.TaskStats
	asked time.Time
}

// cores are how many were busy since an earlier one. When somebody asked says little of
// when it was read: one node that hangs delays the answer of all.
func (s sample) cores(since sample) float64 {
	span := s.asked.Sub(since.asked)
	if s.Sampled > 0 && since.Sampled > 0 {
		span = s.Sampled - since.Sampled
	}
	if s.Attempt != since.Attempt || span <= 0 {
		return 0
	}
	return max(0, float64(s.CPUTime-since.CPUTime)/float64(span))
}

// look is one answer of the cluster.
type look struct {
	asked  time.Time
	stats  []api.TaskStats
	silent []client.SilentNode
	nodes  []*api.NodeStatus
	err    error
}

// ask changes nothing, so that keys may be heeded meanwhile. Of the first look only the
// CPU time is of use, as that of the second is what more there is.
func (u *usageLooks) ask(ctx context.Context, first bool) look {
	l, detail := look{asked: time.Now()}, u.detail
	if first {
		detail = api.StatsCPU
	}
	if l.stats, l.silent, l.err = u.cl.Stats(ctx, u.node, detail); l.err == nil && u.table && !first {
		l.nodes, _ = u.cl.Nodes(ctx, false)
	}
	return l
}

// wait is until the second look.
func (l look) wait() time.Duration { return max(0, firstSpan-time.Since(l.asked)) }

func (u *usageLooks) take(l look) {
	old := u.old
	u.old, u.rows, u.silent, u.nodes = map[string]sample{}, nil, l.silent, l.nodes
	for task, s := range old { // what a node that is silent now says later counts from here
		if slices.ContainsFunc(l.silent, func(n client.SilentNode) bool { return n.Node == s.Node }) {
			u.old[task] = s
		}
	}
	for _, st := range l.stats {
		s := sample{st, l.asked}
		r := &usageRow{TaskStats: st}
		if o, ok := old[st.Task]; ok {
			r.Cores = s.cores(o)
		}
		u.old[st.Task], u.rows = s, append(u.rows, r)
	}
	u.sort()
}

func (u *usageLooks) look(ctx context.Context, first bool) (look, error) {
	l := u.ask(ctx, first)
	if l.err == nil {
		u.take(l)
	}
	return l, l.err
}

func (u *usageLooks) sort() { slices.SortFunc(u.rows, u.order.compare) }

// top takes two looks and shows the difference, again and again on a terminal.
func (a *app) top(c *cli.Context, u *usageLooks) error {
	f, err := format(c)
	if err != nil {
		return err
	}
	if u.table = f == "table" || f == "wide"; f == "table" {
		u.detail = api.StatsUse // pressures are in the wide one
	}
	if isTerminal(a.out) && !c.Bool("once") && u.table {
		return a.topLive(c, u)
	}
	again := c.Bool("watch") && !c.Bool("once")
	l, err := u.look(c.Context, true)
	if err != nil {
		return err
	}
	for wait := l.wait(); ; wait = topInterval(c) {
		select {
		case <-c.Context.Done():
			return nil
		case <-time.After(wait):
		}
		if _, err := u.look(c.Context, false); err != nil {
			return err
		}
		a.tellSilent(u.silent)
		if u.table && !c.Bool("no-headers") {
			if err := u.totals(a.out); err != nil {
				return err
			}
			fmt.Fprintln(a.out)
		}
		if err := list(a.out, c, u.rows, func(r *usageRow) string { return r.Task }, usageColumns); err != nil || !again {
			return err
		}
	}
}

func topInterval(c *cli.Context) time.Duration { return max(option.Span(c, "interval"), firstSpan) }

// totals writes what there is and what all tasks use of it. Who may not see the nodes
// is told of the tasks alone.
func (u *usageLooks) totals(w io.Writer) error {
	if len(u.nodes) > 0 {
		var has, taken api.Resources
		n := 0
		for _, it := range u.nodes {
			if isUp(it) && (u.node == "" || it.Name == u.node || strings.HasPrefix(it.ID, u.node)) {
				has, taken, n = has.Add(it.Resources), taken.Add(it.Ledger.Allocated), n+1
			}
		}
		fmt.Fprintf(w, "cluster  %s up: cpus %s of %s taken, memory %s of %s taken\n", api.Count(n, "node"), taken.CPUs, has.CPUs, taken.Mem, has.Mem)
	}
	var cores float64
	var mem api.Bytes
	for _, r := range u.rows {
		cores, mem = cores+r.Cores, mem+r.Mem
	}
	_, err := fmt.Fprintf(w, "in use   cpus %.2f, memory %s, by %s\n", cores, mem, api.Count(len(u.rows), "task"))
	return err
}

// leftOut writes whose tasks are not counted, in one line.
func (u *usageLooks) leftOut(w io.Writer) {
	sep := "left out "
	for _, n := range u.silent {
		fmt.Fprintf(w, "%s%s: %s", sep, n.Node, printable(n.Reason))
		sep = "; "
	}
	if len(u.silent) > 0 {
		fmt.Fprintln(w)
	}
}

var usageColumns = []column[*usageRow]{
	{"TASK", func(r *usageRow) string { return r.Task }, false},
	{"NODE", func(r *usageRow) string { return r.Node }, false},
	{"CPUS", func(r *usageRow) string { return fmt.Sprintf("%.2f", r.Cores) }, false},
	{"MEM", func(r *usageRow) string { return r.Mem.String() }, false},
	{"PEAK", func(r *usageRow) string { return r.MemPeak.String() }, false},
	{"PROCESSES", func(r *usageRow) string { return fmt.Sprint(r.Processes) }, false},
	{"WAITS FOR CPU", func(r *usageRow) string { return pressure(r, func(p *api.Pressure) float64 { return p.CPU }) }, true},
	{"FOR MEM", func(r *usageRow) string { return pressure(r, func(p *api.Pressure) float64 { return p.Mem }) }, true},
	{"FOR IO", func(r *usageRow) string { return pressure(r, func(p *api.Pressure) float64 { return p.IO }) }, true},
	{"THROTTLED", func(r *usageRow) string { return or(r.HeldUp(), "0s") }, false},
}

// pressure is the share of the last ten seconds in which some process waited.
func pressure(r *usageRow, of func(*api.Pressure) float64) string {
	if r.Pressure == nil {
		return ""
	}
	return fmt.Sprintf("%.0f%%", of(r.Pressure))
}
