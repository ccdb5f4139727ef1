package fsm

import (
	"fmt"
	"slices"

	"github.com/mesita/mesita/api"
)

// step is one that may be possible on a node.
func (g *generator) step(v *View, node, partition string) ReservationStep {
	s := ReservationStep{Kind: []StepKind{StepReserve, StepReserve, StepUnreserve}[g.IntN(3)], Partition: partition,
		Resources: api.Resources{CPUs: api.MilliCPU(50 * g.IntN(4)), Mem: api.Bytes(g.IntN(3)) << 20, Disk: api.Bytes(1+g.IntN(2)) << 20}}
	if g.IntN(3) == 0 {
		s.Principal, s.Labels = "ann", map[string]string{"a": fmt.Sprint(g.IntN(2))}
	}
	for r := range v.Reservations(node) { // most are about something that is there
		if s.Kind == StepReserve || g.IntN(2) == 0 {
			continue
		}
		s.Principal, s.Labels = r.Principal, r.Labels
		if partition == "" {
			s.Partition = r.Partition
		}
		if g.IntN(2) == 0 {
			s.Resources = r.Resources
		}
	}
	g.ofVolume(v, node, &s)
	if s.Partition == "" {
		s.Partition = []string{api.DefaultPartition, api.DefaultPartition, "ml", "ml/train"}[g.IntN(4)]
	}
	return s
}

// ofVolume has a step be about a volume now and then: one that is there, or two ids that meet.
func (g *generator) ofVolume(v *View, node string, s *ReservationStep) {
	if g.IntN(6) > 0 {
		return
	}
	for r := range v.Reservations(node) {
		if s.Partition != "" && s.Partition != r.Partition || g.IntN(2) == 0 {
			continue
		}
		*s = ReservationStep{Kind: StepCreate, Partition: r.Partition, Principal: r.Principal, Labels: r.Labels, Resources: api.Resources{Disk: api.Bytes(1+g.IntN(2)) << 20},
			Volume: &api.Volume{ID: fmt.Sprint("v", g.IntN(3)), Path: "data"}}
		if r.Volume != nil && g.IntN(4) > 0 {
			volume := *r.Volume
			volume.Made = 0
			s.Kind, s.Resources, s.Volume = StepDestroy, r.Resources, &volume
		}
		return
	}
}

// reservationChange is one by an operator.
func (g *generator) reservationChange(v *View) Command {
	node := nodeID(g.IntN(4))
	c := &ReservationChange{Meta: g.meta(), NodeID: node}
	for range 1 + g.IntN(3) {
		c.Steps = append(c.Steps, g.step(v, node, ""))
	}
	return c
}

// offerReserved offers what is reserved, now and then to others or twice.
func (g *generator) offerReserved(v *View, f *api.Framework) Command {
	node, path := nodeID(g.IntN(4)), f.Partitions[g.IntN(len(f.Partitions))]
	o := &api.Offer{ID: fmt.Sprint("o", g.IntN(5)), Framework: f.ID, NodeID: node, Partition: path, Resources: api.Resources{CPUs: 900, Mem: 96 << 20, Disk: 8 << 20}}
	of := v.FreeReserved(node)
	if o.Reserved = of[path]; len(o.Reserved) > 0 && g.IntN(2) == 0 {
		o.Resources = api.Resources{}
	}
	switch g.IntN(12) {
	case 0:
		o.Reserved = append(of["ml"][:len(of["ml"]):len(of["ml"])], of[api.DefaultPartition]...)
	case 1:
		o.Reserved = append(o.Reserved[:len(o.Reserved):len(o.Reserved)], o.Reserved...)
	}
	return &OfferMake{Meta: g.meta(), Offers: []*api.Offer{o}}
}

// bounds is what partitions may reserve and hold, and one that comes back after its removal.
func (g *generator) bounds(least int) Command {
	amount := func(n int) api.Amounts { return api.Amounts{CPUs: api.MilliCPU(500 * n), Disk: api.Bytes(8*n) << 20} }
	p := &api.Partition{Path: []string{api.DefaultPartition, "ml", "ml", "ml/train", "ml/train"}[g.IntN(5)], Weight: 1000, Guarantee: amount(g.IntN(4))}
	if g.IntN(3) > 0 {
		p.Limit, p.LimitHard = amount(least+g.IntN(9)), true
	}
	return &PartitionPut{Meta: g.meta(), Partition: p}
}

// freezing freezes a task that has some of a reservation, or lets it continue; nil if there
// is none.
func (g *generator) freezing(v *View) Command {
	var some []*api.Task
	for t := range v.Tasks() {
		if t.Framework != nil && len(t.Framework.Reserved) > 0 && t.Framework.Executor == "" && t.Holds() {
			some = append(some, t)
		}
	}
	if len(some) == 0 {
		return nil
	}
	t := some[g.IntN(len(some))]
	switch {
	case t.Desired == api.DesiredFreeze && !t.Frozen:
		return &TaskReport{Meta: g.meta(), Statuses: []api.TaskStatus{{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: api.TaskRunning, PID: 3, Frozen: true, Time: g.now}}}
	case t.Desired == api.DesiredFreeze && g.IntN(2) == 0:
		return &TaskThaw{Meta: g.meta(), Victims: []Victim{{t.Job, t.Index, t.Attempt}}}
	}
	return &TaskPreempt{Meta: g.meta(), Victims: []Victim{{t.Job, t.Index, t.Attempt}}, Freeze: g.IntN(8) > 0, Cause: "test"}
}

// giveBack gives all back that is free of what a partition has reserved on a node.
func (g *generator) giveBack(v *View, node, path string) Command {
	c := &ReservationChange{Meta: g.meta(), NodeID: node}
	for r := range v.Reservations(c.NodeID) {
		if left := r.Resources.Minus(r.Used); r.Partition == path && !left.Equal(api.Resources{}) {
			c.Steps = append(c.Steps, ReservationStep{Kind: StepUnreserve, Partition: path, Principal: r.Principal, Labels: r.Labels, Resources: left})
		}
	}
	return c
}

// limits holds of a command: who passes a limit after it has no more than before. What thaws
// is asked for by who looks at limits.
func limits(fatal func(string, ...any), c Command, before, after *View) {
	switch c.(type) {
	case *PartitionPut, *TaskThaw:
		return
	}
	sum := func(v *View, path string) (r api.Resources) {
		for u := range v.t.usageIn(path) {
			r = r.Add(u.Charged())
		}
		return r
	}
	for p := range after.Partitions() {
		was, is := api.AmountsOf(sum(before, p.Path)), api.AmountsOf(sum(after, p.Path))
		for name, most := range p.Limit.Each {
			if n := is.Of(name); n > most && n > was.Of(name) {
				fatal("index %d: %T has partition %s, which may hold %d of %s, have %d instead of %d", after.Index(), c, p.Path, most, name, n, was.Of(name))
			}
		}
	}
}

// convert adds conversions to an accept, and has its tasks use what is reserved.
func (g *generator) convert(v *View, c *FrameworkAccept) {
	path, node := api.DefaultPartition, ""
	var has []api.Reserved
	for _, id := range c.Offers {
		if o := v.Offer(id); o != nil {
			path, node = o.Partition, o.NodeID
			has = append(has, o.Reserved...)
		}
	}
	for range g.IntN(4) * g.IntN(2) {
		n := Conversion{Before: g.IntN(len(c.Tasks) + 1)}
		if k := len(c.Conversions); k > 0 {
			n.Before = max(n.Before, c.Conversions[k-1].Before)
		}
		for range 1 + g.IntN(2) {
			s := g.step(v, node, path)
			n.Steps = append(n.Steps, s)
			if s.Kind == StepCreate {
				has = append(has, api.Reserved{Reservation: api.VolumeID(path, s.Volume.ID), Resources: s.Resources})
				continue
			}
			has = append(has, api.Reserved{Reservation: api.ReservationID(path, s.Principal, s.Labels), Resources: api.Resources{CPUs: 50, Disk: 1 << 20}})
		}
		c.Conversions = append(c.Conversions, n)
	}
	for i := range c.Tasks {
		t := &c.Tasks[i]
		if len(has) == 0 || t.Task == nil || g.IntN(2) == 0 {
			continue
		}
		task, part := *t.Task, has[g.IntN(len(has))]
		if g.IntN(2) == 0 {
			part.Resources = part.Resources.Least(api.Resources{CPUs: 50, Mem: 1 << 20, Disk: 1 << 20})
		}
		task.Reserved = []api.Reserved{part}
		if task.Spec != nil && g.IntN(2) == 0 && (t.Executor == nil || g.IntN(8) == 0) { // it may be no volume
			spec := *task.Spec
			spec.Volumes = []api.VolumeMount{{Reservation: part.Reservation, Path: "data"}}
			task.Spec = &spec
		}
		t.Task, t.Resources = &task, t.Resources.Add(part.Resources)
	}
}

// mounted holds of a task: each volume that it finds in its folder is all its own.
func mounted(fatal func(string, ...any), v *View, t *api.Task) {
	for _, m := range t.Framework.Spec.Volumes {
		r := v.Reservation(t.NodeID, m.Reservation)
		if r == nil || r.Volume == nil || r.Folder() != m.Folder || !slices.ContainsFunc(t.Framework.Reserved, func(p api.Reserved) bool { return p.Reservation == r.ID }) {
			fatal("index %d: task %s has %+v of %+v", v.Index(), t.ID, m, r)
		}
	}
}

// reservations holds of a view: what tasks and offers have of a reservation is no more than
// it is, of their partition and node. It adds
// what is reserved to what nodes and partitions hold.
func reservations(fatal func(string, ...any), v *View, held map[string]api.Resources, usage map[string]api.PartitionUsage) {
	type key struct{ node, id string }
	used, offered := map[key]api.Resources{}, map[key]api.Resources{}
	count := func(sum map[key]api.Resources, node, partition string, parts []api.Reserved) {
		for _, p := range parts {
			k := key{node, p.Reservation}
			r := v.Reservation(node, p.Reservation)
			if r == nil || r.Partition != partition {
				fatal("index %d: somebody of partition %s on %s has some of %+v", v.Index(), partition, node, r)
			}
			sum[k] = sum[k].Add(p.Resources)
		}
	}
	run := map[string]api.MilliCPU{} // CPUs that tasks run on, by partition
	for t := range v.Tasks() {
		if t.Holds() {
			run[t.Partition] += t.Held().CPUs
		}
		if t.Framework != nil && t.Holds() {
			mounted(fatal, v, t)
			count(used, t.NodeID, t.Partition, t.Framework.Reserved)
			if !t.Frozen {
				run[t.Partition] += api.ReservedSum(t.Framework.Reserved).CPUs
			}
		}
	}
	for p := range v.Partitions() {
		want := api.MilliCPU(0)
		for path, n := range run {
			if api.PathWithin(path, p.Path) {
				want += n
			}
		}
		if b, ok := v.CPUBound(p.Path); ok && b.Requested != want {
			fatal("index %d: tasks of partition %s have %s CPUs, and its bound is shared by %s", v.Index(), p.Path, want, b.Requested)
		}
	}
	for o := range v.Offers() {
		count(offered, o.NodeID, o.Partition, o.Reserved)
	}
	for n := range v.Nodes() {
		for r := range v.Reservations(n.ID) {
			k := key{n.ID, r.ID}
			if !r.Used.Equal(used[k]) || !r.Offered.Equal(offered[k]) || !r.Resources.Fits(used[k].Add(offered[k])) {
				fatal("index %d: of %s %s is used and %s offered, it says %s and %s", v.Index(), r.Resources, used[k], offered[k], r.Used, r.Offered)
			}
			if r.Volume != nil && (!r.Resources.Equal(api.Resources{Disk: r.Resources.Disk}) || !r.Used.Equal(api.Resources{}) && !r.Used.Equal(r.Resources)) {
				fatal("index %d: of a volume of %s %s is used", v.Index(), r.Resources, r.Used)
			}
			if n.State == api.NodeGone || r.Resources.Equal(api.Resources{}) || v.Partition(r.Partition) == nil {
				fatal("index %d: node %s, which is %s, has %+v", v.Index(), n.Name, n.State, r.Reservation)
			}
			held[n.ID] = held[n.ID].Add(r.Resources)
			u := usage[r.Partition]
			u.Allocated, u.Reserved, u.Reservations = u.Allocated.Add(charged(r.Resources)), u.Reserved.Add(charged(r.Resources)), u.Reservations+1
			usage[r.Partition] = u
		}
	}
}
