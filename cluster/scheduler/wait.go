package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/order"
	"github.com/mesita/mesita/fsm"
)

// explainWait says why a task waits: it decides anew, as the leader does, and
// looks at what that leaves.
func (p Planner) explainWait(e *Engine, v *fsm.View, j *api.Job, t *api.Task, why *api.Why) {
	if e == nil {
		e = p.Engine(v)
	}
	now := p.Now()
	seen := &watch{job: j.ID}
	x := e.pass(now, seen, true)
	if placedOn(x.cmds, t.Job, t.Index) != "" {
		why.Summary = t.ID + " is about to start"
		return
	}
	spec := j.SpecFor(t)
	part := v.Eligible(t.Partition)
	c := e.ownClass(part, j, spec)
	if c == nil {
		c = order.NewClass(&e.slots, part, spec)
	}
	c.Build()
	w := &waiting{pass: x, watch: seen, j: j, t: t, part: part, spec: spec, c: c, why: why}
	w.nodes(v)
	why.Waiting(w.obstacles()...)
	if w.nearest >= 0 {
		why.Nearest = e.slots.Node[w.nearest].Name
		w.holders()
	}
	w.estimate()
	if told, any := x.leaving(j.ID); any {
		why.Waiting(append([]api.Obstacle{told}, slices.DeleteFunc(why.Obstacles, func(o api.Obstacle) bool { return o.Kind == api.ObstacleTaking || o.Kind == api.ObstacleFull })...)...)
		why.Hints = []string{"it starts by itself when they have ended, which may be sooner"}
		return
	}
	if seen.took > 0 {
		why.Hints = []string{fmt.Sprintf("%s of others are being preempted for it; it starts when they have ended", api.Count(seen.took, "task"))}
		return
	}
	w.tries = &trials{engine: e, base: v, now: now, job: j.ID, index: t.Index, memory: e.Remember(), left: maxTrials, clock: p.Now, until: p.Now().Add(trialTime)}
	why.Remedies = w.settable(w.remedies())
	w.hints()
}

// explainHeld says why a task waits whose job is on hold, and what else it would wait
// for.
func (p Planner) explainHeld(v *fsm.View, j *api.Job, t *api.Task, why *api.Why) {
	held := api.Obstacle{Kind: api.ObstacleOnHold, Job: j.ID}
	inPlace := []string{"mesita job release " + j.ID + " lets it wait in its place"}
	if o, ok := unready(v, j, t, p.Now()); ok {
		why.Waiting(held, o)
		why.Hints = inPlace
		return
	}
	f := v.Fork()
	if _, err := f.Do(&fsm.JobHold{Meta: fsm.Meta{At: p.Now(), Actor: "why"}, ID: j.ID, Release: true}); err != nil {
		why.Waiting(held)
		return
	}
	then := &api.Why{ID: t.ID, State: why.State}
	p.explainWait(nil, f.View(), f.View().Job(j.ID), f.View().TaskOf(t.Job, t.Index), then)
	why.Nodes, why.Nearest, why.Holders, why.Holding = then.Nodes, then.Nearest, then.Holders, then.Holding
	why.Waiting(append([]api.Obstacle{held}, then.Obstacles...)...)
	if len(then.Obstacles) == 0 || then.Obstacles[0].Kind == api.ObstacleTaking {
		why.Remedies = []api.Remedy{{Kind: api.RemedyRelease, Job: j.ID}}
		why.Hints = []string{why.Remedies[0].String()}
		return
	}
	why.Hints = inPlace
}

// unready is why no pass would try a task, whatever is free; false: one would.
func unready(v *fsm.View, j *api.Job, t *api.Task, now time.Time) (api.Obstacle, bool) {
	if waits(j, t, now) {
		return api.Obstacle{Kind: api.ObstacleBackoff, Until: t.NotBefore}, true
	}
	if j.Spec.Gang == 0 {
		return api.Obstacle{}, false
	}
	parts := api.Obstacle{Kind: api.ObstacleParts, Gang: j.Spec.Gang}
	if j.Counts.Live() != j.Counts.Pending {
		return parts, true
	}
	for other := range v.PendingMade(j) {
		if waits(j, other, now) {
			return parts, true
		}
	}
	return api.Obstacle{}, false
}

// waiting is what is known of a task that waits.
type waiting struct {
	*pass
	watch   *watch
	j       *api.Job
	t       *api.Task
	part    *api.Partition
	spec    *api.JobSpec
	c       *order.Class
	why     *api.Why
	tries   *trials
	nearest int            // slot that lacks least, -1 if no node can ever take it
	out     []*api.Node    // those that could take it, and take nothing at the moment
	apart   []api.Obstacle // what other jobs keep off nodes that could take it
	held    *api.Obstacle  // what keeps a node from it that has room
	fits    bool           // a node has room
}

// nodes lists the first reason of each node, and finds the nearest fit.
func (w *waiting) nodes(v *fsm.View) {
	w.nearest = -1
	least := 0.0
	for n := range v.Nodes() {
		if n.State == api.NodeGone {
			continue
		}
		o := w.look(n)
		if i, known := w.e.slots.Of(n.ID); known && (o.Kind == api.ObstacleShort || o.Kind == api.ObstacleHeld || o.Kind == api.ObstacleNone) {
			if lack := w.c.Lack(i); w.nearest < 0 || lack < least {
				w.nearest, least = i, lack
			}
		}
		switch o.Kind {
		case api.ObstacleUnavailable:
			if !n.VoterOnly && fsm.Unfit(n, w.part, w.spec) == "" && v.Unreserved(n).Fits(w.c.Need) {
				w.out = append(w.out, n)
			}
		case api.ObstacleNear, api.ObstacleAway:
			w.apart = append(w.apart, o)
		case api.ObstacleHeld:
			w.held = &o
		case api.ObstacleNone:
			w.fits = true
		}
		w.why.Nodes = append(w.why.Nodes, api.WhyNode{Node: n.Name, Reason: o.String(), Obstacle: o})
	}
}

// look is what keeps the task off a node.
func (w *waiting) look(n *api.Node) api.Obstacle {
	detail := func(kind api.ObstacleKind, text string) api.Obstacle {
		return api.Obstacle{Kind: kind, Detail: text}
	}
	cannot := fsm.Unfit(n, w.part, w.spec)
	if text := unavailable(n); text != "" {
		return detail(api.ObstacleUnavailable, text)
	}
	if cannot != "" {
		return detail(api.ObstacleCondition, cannot)
	}
	i, known := w.e.slots.Of(n.ID)
	if !known {
		return detail(api.ObstacleUnavailable, "is not known yet")
	}
	if w.c.Avoid[n.ID] {
		return detail(api.ObstacleAvoided, couldNotStart(w.j, n))
	}
	if !n.Resources.Ports.Contains(w.c.Need.Ports) {
		return detail(api.ObstacleTooSmall, notItsPorts(n.Resources, w.c.Need))
	}
	short := w.short(n, i)
	if !w.e.slots.Whole[i].Fits(w.c.Need) {
		short.Kind = api.ObstacleTooSmall
		return short
	}
	if w.c.Near != nil {
		if kind, job := w.c.Near.Against(n); job != "" {
			return api.Obstacle{Kind: kind, Job: job}
		}
	}
	if short.Kind != "" {
		return short
	}
	if o := w.heldFor(&entry{job: w.j}, w.t.Partition, w.c.Need, i); o != nil {
		return *o
	}
	return api.Obstacle{Kind: api.ObstacleNone}
}

// short is what a slot has too little of now.
func (w *waiting) short(n *api.Node, i int) api.Obstacle {
	free, o := w.e.slots.Free[i], api.Obstacle{Kind: api.ObstacleShort}
	if short, ok := free.Missing(w.c.Need); !ok {
		o.Resource, o.Need, o.Have = short.Resource, short.Need, short.Have
		o.Detail = cmp.Or(outside(n, free, w.c.Need), besideReserved(n, w.e.slots.Whole[i], free, w.c.Need))
		if short.Kind != "" {
			o.Detail = short.String()
		}
		return o
	}
	if text := order.Lacks(free, w.c.Need, w.c.AnyPorts); text != "" {
		o.Resource, o.Detail = "ports", text
		return o
	}
	return api.Obstacle{}
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

// heldFor says for whom room is held on a slot, nil if a task of a job may use it.
func (p *pass) heldFor(e *entry, path string, need api.Resources, slot int) *api.Obstacle {
	for _, h := range p.held[slot] {
		if p.endsBefore(e.job, h) || h.Extra[slot].Fits(need) || !p.keepsOut(h, path, e, need) {
			continue
		}
		o := &api.Obstacle{Kind: api.ObstacleHeld, Job: h.Job, Until: h.At, Have: p.e.slots.Free[slot].CPUs.String(), Resource: "cpus"}
		if j := p.view.Job(h.Job); j != nil {
			o.Gang = j.Spec.Gang
		}
		return o
	}
	return nil
}

// obstacles lists what keeps the task from starting, what decides first.
func (w *waiting) obstacles() (out []api.Obstacle) {
	for _, b := range w.bars() {
		out = append(out, ofBar(b))
	}
	for _, h := range w.watch.full {
		out = append(out, h.obstacle())
	}
	if q := w.watch.quota; q != nil {
		out = append(out, api.Obstacle{Kind: api.ObstacleQuota, Partition: w.watch.quotaOf, Job: q.Job, Until: q.At})
	}
	able := len(w.out) > 0 || len(w.apart) > 0 || slices.ContainsFunc(w.why.Nodes, func(n api.WhyNode) bool {
		return n.Obstacle.Kind != api.ObstacleTooSmall && n.Obstacle.Kind != api.ObstacleCondition && n.Obstacle.Kind != api.ObstacleUnavailable
	})
	switch {
	case w.watch.took > 0:
		out = append(out, api.Obstacle{Kind: api.ObstacleTaking})
	case len(w.why.Nodes) == 0:
		out = append(out, api.Obstacle{Kind: api.ObstacleNoNodes})
	case !able:
		out = append(out, api.Obstacle{Kind: api.ObstacleNever})
	case w.nearest < 0 && len(w.apart) > 0:
		out = append(out, w.keptApart())
	case w.nearest < 0 && len(w.out) > 0:
		out = append(out, w.outOfService())
	case w.j.Spec.Gang > 0 && w.watch.seen && len(out) == 0:
		out = append(out, api.Obstacle{Kind: api.ObstacleGang, Gang: w.j.Spec.Gang})
	case w.held != nil && !w.fits:
		out = append(out, *w.held)
	case w.fits && len(out) == 0:
		out = append(out, api.Obstacle{Kind: api.ObstacleOrder, Partition: w.t.Partition, Policy: w.part.Policy})
	case !w.fits:
		out = append(out, api.Obstacle{Kind: api.ObstacleFull})
	}
	return out
}

// keptApart is what other jobs keep the task from.
func (w *waiting) keptApart() api.Obstacle {
	for _, o := range w.apart {
		if o.Kind == api.ObstacleNear && w.view.Job(o.Job) == nil {
			return api.Obstacle{Kind: api.ObstacleNoJob, Job: o.Job}
		}
	}
	return w.apart[0]
}

// outOfService names the nodes that could take the task, and do not.
func (w *waiting) outOfService() api.Obstacle {
	o := api.Obstacle{Kind: api.ObstacleOut, Detail: unavailable(w.out[0])}
	for _, n := range w.out {
		if o.Nodes = append(o.Nodes, n.Name); unavailable(n) != o.Detail {
			o.Detail = "take nothing new"
		}
	}
	if len(o.Nodes) > 1 {
		o.Detail = strings.Replace(o.Detail, "is ", "are ", 1)
	}
	return o
}

// holders lists who holds what the nearest node lacks, the largest first.
func (w *waiting) holders() {
	short, ok := w.e.slots.Free[w.nearest].Missing(w.c.Need)
	if ok && w.c.AnyPorts > 0 && !order.PortsLeft(w.e.slots.Free[w.nearest], w.c.Need, w.c.AnyPorts) {
		short, ok = api.Short{Resource: "ports"}, false
	}
	if ok {
		return
	}
	held := map[api.Holder]api.Resources{}
	for t := range w.view.NodeTasks(w.e.slots.Node[w.nearest].ID) {
		name := api.Holder{Job: t.Job, Partition: t.Partition}
		held[name] = held[name].Add(t.Held())
	}
	type holder struct {
		api.Holder
		n int64
	}
	var all []holder
	for h, r := range held {
		n := int64(0)
		if n, h.Holds = overlap(r, w.c.Need, short.Resource); n > 0 {
			all = append(all, holder{h, n})
		}
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := &all[i], &all[j]
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.Job, b.Job), cmp.Compare(a.Partition, b.Partition)) < 0
	})
	var most []api.Holder
	for _, h := range all[:min(3, len(all))] {
		most = append(most, h.Holder)
	}
	w.why.Held(most...)
}

// overlap is how much of what is needed of a resource somebody holds.
func overlap(held, need api.Resources, resource string) (n int64, what string) {
	switch resource {
	case "ports":
		taken := held.Ports
		if len(need.Ports) > 0 {
			taken = taken.Minus(taken.Minus(need.Ports))
		}
		return taken.Count(), "port " + taken.String()
	case "pins":
		return held.Pins, fmt.Sprintf("%s of its own", api.Count(held.Pins, "CPU"))
	case "memLimit":
		return int64(held.MemLimit()), "up to " + held.MemLimit().String() + " mem"
	}
	has, wants := held.Custom[resource], need.Custom[resource]
	switch {
	case len(wants.Ranges) > 0:
		taken := has.Ranges.Minus(has.Ranges.Minus(wants.Ranges))
		return taken.Count(), resource + " " + taken.String()
	case len(wants.Set) > 0:
		taken := slices.DeleteFunc(slices.Clone(has.Set), func(word string) bool { return !slices.Contains(wants.Set, word) })
		return int64(len(taken)), resource + " {" + strings.Join(taken, ",") + "}"
	}
	n = api.AmountsOf(held).Of(resource)
	return n, api.AmountText(resource, n)
}

// estimate is when the job starts if nothing else happens.
func (w *waiting) estimate() {
	if q := w.e.quotas[w.t.Partition]; q != nil && q.Job == w.j.ID && q.At.After(w.now) {
		w.why.Estimate, w.why.Sure = q.At.Truncate(time.Second), api.SurePromised
	}
	l := w.e.jobs[w.j.ID]
	if l == nil || l.entry == nil || len(w.bars()) > 0 || len(w.watch.full) > 0 || w.watch.quota != nil {
		return
	}
	h := w.e.holds[w.t.Partition]
	promised := h != nil && h.Job == w.j.ID
	if !promised {
		c := w.e.classOf(l.entry, l.queue)
		h = w.findHold(l.entry, l.queue, c, w.candidates(l.entry, c), false, nobody)
	}
	if h != nil && !h.At.IsZero() && h.At.After(w.now) {
		w.why.Estimate = h.At.Truncate(time.Second)
		if promised {
			w.why.Sure = api.SurePromised
		}
	}
}

// hints says what change would start the task now, and what happens otherwise.
func (w *waiting) hints() {
	add := func(format string, a ...any) { w.why.Hints = append(w.why.Hints, fmt.Sprintf(format, a...)) }
	for _, r := range w.why.Remedies {
		add("%s", r)
	}
	var first api.Obstacle
	if len(w.why.Obstacles) > 0 {
		first = w.why.Obstacles[0]
	}
	switch first.Kind {
	case api.ObstacleNoNodes:
		add("add a node with `mesita node join`")
	case api.ObstacleNever:
		add("ask for less, or add a node that is larger or meets its conditions")
	case api.ObstacleNoJob, api.ObstacleAway, api.ObstacleRunning:
		add("%s", first.Hint())
	}
	if text := w.bounded(); text != "" {
		add("%s", text)
	}
	if back := w.comeBack(); len(back) > 0 {
		add("it starts by itself when %s takes new tasks again", strings.Join(back[:min(3, len(back))], " or "))
	}
	if len(w.why.Hints) == 0 {
		add(api.HintRoom)
	}
}

// bounded says until when weights alone may let a wide task wait that is its
// partition's first, "" of another.
func (w *waiting) bounded() string {
	t := w.turns[w.t.Partition]
	switch {
	case t == nil || t.head == nil || t.head.Job != w.j.ID || !t.head.Late && !w.wide(w.t.Partition, w.j):
		return ""
	case t.head.Late:
		return "it has waited as long as weights may let it: what comes free is kept for it now, from all but guarantees"
	}
	at := t.head.Began.Add(latest(w.j))
	return fmt.Sprintf("it is more than partition %s is entitled to: if weights let it wait until %s, what comes free is kept for it then, from all but guarantees",
		w.t.Partition, at.Format(time.DateTime))
}

// comeBack lists the nodes without which the task, or its gang, does not fit, and
// with which it would.
func (w *waiting) comeBack() (names []string) {
	if len(w.watch.full) > 0 || w.watch.quota != nil || len(w.bars()) > 0 {
		return nil
	}
	want, room := max(1, w.j.Spec.Gang), 0
	fit := func(n *api.Node) int {
		i, ok := w.e.slots.Of(n.ID)
		if !ok {
			return 0
		}
		return request(w.c, want).Count(w.e.slots.Free[i])
	}
	for _, n := range w.e.slots.Node {
		if w.look(n).Kind == api.ObstacleNone {
			room += fit(n)
		}
	}
	for _, n := range w.out {
		if k := fit(n); k > 0 && !n.Drain && room < want {
			names = append(names, n.Name)
			if want > 1 {
				room += k
			}
		}
	}
	if room < want && want > 1 {
		return nil // they would not be enough
	}
	return names
}
