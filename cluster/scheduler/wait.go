package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// explainWait says why a task waits: it decides anew, as the leader does, and
// looks at what that leaves.
func (p Planner) explainWait(v *fsm.View, j *api.Job, t *api.Task, why *api.Why) {
	e := NewEngine(p.Begin)
	e.Update(v, nil, true)
	x := newPass(e, p.Now())
	x.watch = j.ID
	x.run()
	if placedNow(x.cmds, t) {
		why.Summary = t.ID + " is about to start"
		return
	}
	spec := j.SpecOf(t.Version)
	c := newOwn(e, v.Eligible(t.Partition), j, spec, p.Now())
	if c == nil {
		c = newClass(&e.slots, v.Eligible(t.Partition), spec)
	}
	c.build()
	w := &waiting{pass: x, j: j, t: t, c: c, why: why}
	w.nodes(v)
	w.summary()
	w.estimate()
	w.hints()
}

func placedNow(cmds []fsm.Command, t *api.Task) bool {
	for _, c := range cmds {
		if place, ok := c.(*fsm.TaskPlace); ok {
			for i := range place.Placements {
				if place.Placements[i].Job == t.Job && place.Placements[i].Index == t.Index {
					return true
				}
			}
		}
	}
	return false
}

// waiting is what is known of a task that waits.
type waiting struct {
	*pass
	j       *api.Job
	t       *api.Task
	c       *class
	why     *api.Why
	nearest int      // slot that lacks least, -1 if no node can ever take it
	back    []string // nodes that could take it, and take nothing at the moment
	by      *hold    // that keeps a node from it
	fits    bool     // a node has room
}

// nodes lists the first reason of each node, and finds the nearest fit.
func (w *waiting) nodes(v *fsm.View) {
	w.nearest = -1
	least := 0.0
	for n := range v.Nodes() {
		if n.State == api.NodeGone {
			continue
		}
		reason := unavailable(n)
		i, known := w.e.slots.ids[n.ID]
		if reason != "" && !n.VoterOnly && unfit(n, w.c.part, w.c.spec) == "" && n.Resources.Fits(w.c.need) {
			w.back = append(w.back, n.Name)
		}
		if reason == "" {
			reason = unfit(n, w.c.part, w.c.spec)
		}
		if reason == "" && w.c.avoid[n.ID] {
			reason = couldNotStart(w.j, n)
		}
		if reason == "" && w.c.near != nil {
			_, reason = w.c.near.check(n)
		}
		if reason == "" && known {
			if lack, ok := w.lack(i); ok && (w.nearest < 0 || lack < least) {
				w.nearest, least = i, lack
			}
			if reason = lacks(w.e.slots.free[i], w.c.need, w.c.anyPorts); reason != "" {
				reason = cmp.Or(outside(n, w.e.slots.free[i], w.c.need), reason)
			}
			if !n.Resources.Ports.Contains(w.c.need.Ports) {
				reason = notItsPorts(n.Resources, w.c.need)
			}
		}
		if reason == "" && known {
			reason = w.heldFor(i)
		}
		if reason == "" {
			reason, w.fits = "has room", true
		}
		w.why.Nodes = append(w.why.Nodes, api.WhyNode{Node: n.Name, Reason: reason})
	}
}

// couldNotStart says why a job's tasks do not go to a node.
func couldNotStart(j *api.Job, n *api.Node) string {
	for _, a := range j.Avoid {
		if a.NodeID == n.ID {
			return fmt.Sprintf("could not start one at %s (%s); it is tried again later", a.At.Format("15:04:05"), a.Reason)
		}
	}
	return ""
}

// lack is how far a slot is from taking the task; false if it never can.
func (w *waiting) lack(i int) (float64, bool) {
	if !w.e.slots.node[i].Resources.Fits(w.c.need) {
		return 0, false
	}
	f, most, need := &w.e.slots.free[i], &w.e.slots.most, &w.c.need
	return missing(int64(need.CPUs-f.CPUs), int64(most.CPUs)) + missing(int64(need.Mem-f.Mem), int64(most.Mem)) + missing(need.GPUs-f.GPUs, most.GPUs), true
}

// heldFor says for whom room is held on a slot, "" if the task may use it.
func (w *waiting) heldFor(i int) string {
	for _, h := range w.held[i] {
		if h.job == w.j.ID || w.endsBefore(w.j, h) || h.extra[i].Fits(w.c.need) {
			continue
		}
		w.by = h
		what := "job"
		if j := w.view.Job(h.job); j != nil && j.Spec.Gang > 0 {
			what = "gang"
		}
		return fmt.Sprintf("%s free, held for %s %s %s", w.e.slots.free[i].CPUs, what, h.job, until(h.at))
	}
	return ""
}

func (w *waiting) summary() {
	switch {
	case w.limit:
		w.why.Summary = fmt.Sprintf("%s is waiting: %s", w.t.ID, w.said)
	case len(w.why.Nodes) == 0:
		w.why.Summary = w.t.ID + " is waiting: the cluster has no node for work"
	case w.j.Spec.Gang > 0:
		w.why.Summary = fmt.Sprintf("%s is waiting: its gang of %d does not fit at once", w.t.ID, w.j.Spec.Gang)
	case w.nearest < 0 && len(w.back) == 0:
		w.why.Summary = w.t.ID + " is waiting: no node can ever take it"
	case w.by != nil:
		w.why.Summary = fmt.Sprintf("%s is waiting: the room there is held for job %s, which was first", w.t.ID, w.by.job)
	case w.fits:
		w.why.Summary = fmt.Sprintf("%s is waiting: others of partition %s go first by its policy (%s)", w.t.ID, w.t.Partition, w.c.part.Policy)
	default:
		w.why.Summary = fmt.Sprintf("%s is waiting: no node can take it now", w.t.ID)
	}
	if w.nearest >= 0 {
		w.why.Nearest = w.e.slots.node[w.nearest].Name
		w.holders()
	}
}

// holders lists who holds what the nearest node lacks, the largest first.
func (w *waiting) holders() {
	short, ok := w.e.slots.free[w.nearest].Missing(w.c.need)
	if ok {
		return
	}
	held := map[string]api.Amounts{}
	for t := range w.view.NodeTasks(w.e.slots.node[w.nearest].ID) {
		name := fmt.Sprintf("job %s of partition %s", t.Job, t.Partition)
		held[name] = held[name].Add(api.AmountsOf(t.Held()))
	}
	names := slices.SortedFunc(maps.Keys(held), func(a, b string) int {
		return cmp.Or(cmp.Compare(held[b].Of(short.Resource), held[a].Of(short.Resource)), cmp.Compare(a, b))
	})
	for _, name := range names[:min(3, len(names))] {
		if x := held[name].Of(short.Resource); x > 0 {
			w.why.Holders = append(w.why.Holders, fmt.Sprintf("%s holds %s there", name, api.AmountText(short.Resource, x)))
		}
	}
}

// estimate is when the job starts if nothing else happens.
func (w *waiting) estimate() {
	if q := w.quota(); q != nil && q.job == w.j.ID && q.at.After(w.now) {
		w.why.Estimate = q.at.Truncate(time.Second)
	}
	l := w.e.jobs[w.j.ID]
	if l == nil || l.entry == nil || w.limit {
		return
	}
	h := w.e.holds[w.t.Partition]
	if h == nil || h.job != w.j.ID {
		c := w.e.classOf(l.entry, l.queue)
		h = w.findHold(l.entry, l.queue, c, w.candidates(l.entry, c))
	}
	if h != nil && !h.at.IsZero() && h.at.After(w.now) {
		w.why.Estimate = h.at.Truncate(time.Second)
	}
}

// quota is what the task's partition keeps below its limit, nil if nothing.
func (w *waiting) quota() *quota {
	if t := w.turns[w.t.Partition]; t != nil {
		return t.quota
	}
	return nil
}

// hints says what change would start the task now, and what happens otherwise.
func (w *waiting) hints() {
	add := func(format string, a ...any) { w.why.Hints = append(w.why.Hints, fmt.Sprintf(format, a...)) }
	part := w.c.part
	switch {
	case w.limit:
		if q := w.quota(); q != nil && w.said == q.reason(w.t.Partition) {
			w.backfill(q.at, add)
		}
		for path := w.t.Partition; path != ""; path = api.ParentPath(path) {
			p := w.view.Partition(path)
			if p == nil {
				break
			}
			if strings.HasPrefix(w.said, "partition "+path+" is at its limit") {
				var raised api.Amounts
				for k, v := range p.Limit.Each {
					raised = raised.With(k, v+api.AmountsOf(w.c.need).Of(k))
				}
				add("would start with a higher limit: mesita partition set %s --limit %s", path, raised)
			}
		}
	case len(w.why.Nodes) == 0:
		add("add a node with `mesita node join`")
	case w.nearest < 0 && len(w.back) > 0:
		add("it starts by itself when %s takes new tasks again", strings.Join(w.back[:min(3, len(w.back))], " or "))
	case w.nearest < 0:
		add("ask for less, or add a node that is larger or meets its conditions")
	case w.by != nil:
		w.backfill(w.by.at, add)
	}
	if w.nearest >= 0 && !w.fits {
		w.smaller(add)
	}
	if g := part.Guaranteed(); w.nearest >= 0 && !w.limit && !w.round.Entitled(part.Path, w.c.need) && len(w.holdersElsewhere()) > 0 {
		if g.IsZero() {
			add("a guarantee for partition %s would take room back from others", part.Path)
		} else {
			add("a higher guarantee or weight for partition %s would let it have more", part.Path)
		}
	}
	if len(w.why.Hints) == 0 {
		add("it starts by itself when a node has room; `mesita top` shows who uses what")
	}
}

// backfill names the time in which the task would have to end to start now.
func (w *waiting) backfill(by time.Time, add func(string, ...any)) {
	if d := by.Sub(w.now).Truncate(time.Second); d > 0 {
		add("would start now with --time %s (backfill)", d)
	}
}

// smaller names the request that the nearest node could take now.
func (w *waiting) smaller(add func(string, ...any)) {
	f, need := w.e.slots.free[w.nearest], w.c.need
	var flags []string
	if need.Pins > 0 { // whole ones, of those that can be pinned
		f.CPUs = max(min(f.CPUs/1000, api.MilliCPU(f.Pins)), 0) * 1000
	}
	if f.CPUs < need.CPUs && f.CPUs > 0 {
		flags = append(flags, "--cpus "+f.CPUs.String())
	}
	if f.Mem < need.Mem && f.Mem > 1<<20 {
		flags = append(flags, "--mem "+f.Mem.String())
	}
	if most := f.MemLimit(); need.MemExtra > 0 && most < need.MemLimit() && most > need.Mem {
		flags = append(flags, "--mem-limit "+most.String())
	}
	enough := (f.CPUs >= need.CPUs || f.CPUs > 0) && (f.Mem >= need.Mem || f.Mem > 1<<20)
	if len(flags) > 0 && enough && w.heldFor(w.nearest) == "" {
		add("would start now on %s with %s", w.e.slots.node[w.nearest].Name, strings.Join(flags, " "))
	}
}

// holdersElsewhere lists the other partitions that hold some of what is lacking
// on the nearest node, or of anything where only a promise to others is in the way.
func (w *waiting) holdersElsewhere() []string {
	var out []string
	short, fits := w.e.slots.free[w.nearest].Missing(w.c.need)
	for t := range w.view.NodeTasks(w.e.slots.node[w.nearest].ID) {
		if !fits && api.AmountsOf(t.Held()).Of(short.Resource) == 0 {
			continue // what it lacks, that task does not have: a port of another program
		}
		if t.Partition != w.t.Partition && !slices.Contains(out, t.Partition) {
			out = append(out, t.Partition)
		}
	}
	return out
}

// maxPlanNodes bounds the nodes that a plan names.
const maxPlanNodes = 1000

// Plan says where the tasks of a spec would go now.
func (p Planner) Plan(v *fsm.View, s *api.JobSpec) *api.Plan {
	plan := &api.Plan{Job: s.Name, Action: "create", Tasks: s.Tasks(), RunAs: s.RunsAs()}
	meta := fsm.Meta{At: p.Now(), Actor: "plan"}
	var cmd fsm.Command = &fsm.JobCreate{Meta: meta, Spec: s}
	if old := v.Job(s.Name); s.Name != "" && old != nil && !old.State.Ended() {
		plan.Action = "update"
		cmd = &fsm.JobScale{Meta: meta, ID: old.ID, Count: s.Tasks()}
		plan.Fits = min(plan.Tasks, old.Counts.Live()-old.Counts.Pending)
	}
	trial := v.Trial(cmd)
	if trial.Err != nil {
		plan.Warnings = append(plan.Warnings, trial.Err.Error())
		return plan
	}
	j := trial.Value.(*api.Job)
	w := trial.View
	if j.Spec.Kind == api.KindService && j.Counts.Live() < s.Tasks() {
		w = w.Trial(&fsm.TaskCreate{Meta: meta, Job: j.ID, Count: s.Tasks()}).View
	}
	e := NewEngine(p.Begin)
	e.Update(w, nil, true)
	x := newPass(e, p.Now())
	x.watch = j.ID
	x.run()
	counts := map[string]int{}
	victims := 0
	for _, c := range x.cmds {
		switch c := c.(type) {
		case *fsm.TaskPlace:
			for i := range c.Placements {
				if c.Placements[i].Job == j.ID {
					counts[w.Node(c.Placements[i].NodeID).Name]++
					plan.Fits++
				}
			}
		case *fsm.TaskPreempt:
			if strings.HasPrefix(c.Cause, "for job "+j.ID+" ") {
				victims += len(c.Victims)
			}
		}
	}
	if victims > 0 {
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("%s of others would give way", api.Count(victims, "task")))
	}
	for _, name := range slices.Sorted(maps.Keys(counts))[:min(len(counts), maxPlanNodes)] {
		plan.Nodes = append(plan.Nodes, api.PlanNode{Node: name, Tasks: counts[name]})
	}
	if wait := plan.Tasks - plan.Fits; wait > 0 {
		reason := "there is not enough free"
		if x.said != "" {
			reason = x.said
		}
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("%d of %s would wait: %s", wait, api.Count(plan.Tasks, "task"), reason))
	}
	return plan
}
