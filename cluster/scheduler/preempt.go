package scheduler

import (
	"cmp"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/order"
	"github.com/mesita/mesita/fsm"
)

// maxWinners bounds the tasks for which one pass takes something back.
const maxWinners = 256

// preemption collects who must be preempted in a pass.
type preemption struct {
	*pass
	coming map[int]api.Resources // what a slot will have left, less what was promised
	chosen map[string]bool       // tasks
	mine   map[string]int        // claims of earlier passes, by job
	moving []*api.Task           // tasks that end, and ask for as much again
	left   int                   // tasks still to be helped
	undo   []func()              // takes back what the current job claimed
}

// preempt takes back what was lent to others while a guarantee is not met, and
// within a partition what its policy lets a better job take.
func (p *pass) preempt() {
	x := &preemption{pass: p, coming: map[int]api.Resources{}, chosen: map[string]bool{}, mine: map[string]int{}, left: maxWinners}
	for _, c := range p.e.claims {
		x.mine[c.job]++
		x.comingTo(p.slotOf(c)) // before there are more of them
	}
	x.ending()
	x.dismiss()
	for _, c := range p.e.claims { // what leaves is theirs, whoever is asked first
		x.round.Charge(c.path, c.need)
	}
	x.countAhead(-1) // they are claimed for as the others
	x.ahead = nil
	x.stuck()
	x.limits()
	turns := make([]*turn, 0, len(p.turns))
	for _, t := range p.turns {
		if len(t.waiting) > 0 {
			turns = append(turns, t)
		}
	}
	slices.SortFunc(turns, func(a, b *turn) int {
		return cmp.Or(cmp.Compare(b.q.part.Priority, a.q.part.Priority), cmp.Compare(a.q.part.Path, b.q.part.Path))
	})
	for _, t := range turns {
		x.guarantee(t)
	}
	for _, t := range turns {
		if pol := t.q.part.Policy; pol == api.PolicySRTF || pol == api.PolicyPriority {
			x.within(t)
		}
	}
	x.known()
}

// guarantee takes back for the waiting jobs that the partition's guarantee
// covers.
func (x *preemption) guarantee(t *turn) {
	path := t.q.part.Path
	for _, e := range t.waiting {
		if !x.entitled(path, e.job.Spec.Need()) {
			continue
		}
		x.claim(t, e, reclaim{loans: true, may: x.entitled, covered: x.round.Entitled, allow: func(need, lost api.Resources, v *victim) bool {
			if v.offer != nil {
				return x.round.MayRecall(path, v.path(), need, need.Least(lost))
			}
			return v.path() != path && x.round.MayReclaim(path, v.path(), need, lost)
		}})
	}
}

// outranks reports whether a job may take from another one of its partition that
// ran for so long, by the partition's policy: it is better, and would be served
// before the other if both waited. So what it takes is not given back to whom it
// was taken from, and taking ends: each time the room goes to who is further ahead
// in an order that does not change.
func (p *pass) outranks(part *api.Partition, winner, loser *api.Job, ran time.Duration) bool {
	if rank(part, p.view, winner) >= rank(part, p.view, loser) {
		return false
	}
	switch part.Policy {
	case api.PolicyPriority:
		return loser.Spec.Priority < winner.Spec.Priority
	case api.PolicySRTF:
		mine, all := p.estimate(winner), p.estimate(loser)
		return mine > 0 && loser.Spec.Kind == api.KindBatch && (all == 0 || all-ran > mine)
	}
	return false
}

// within takes from worse jobs of the same partition.
func (x *preemption) within(t *turn) {
	part := t.q.part
	for _, e := range t.waiting {
		if part.Policy == api.PolicySRTF && x.estimate(e.job) == 0 {
			continue // nobody knows that it is shorter
		}
		always := func(string, api.Resources) bool { return true }
		x.claim(t, e, reclaim{may: always, covered: always, allow: func(_, _ api.Resources, v *victim) bool {
			if v.path() != part.Path || v.offer != nil {
				return v.path() == part.Path
			}
			j := x.view.Job(v.task.Job)
			return j != nil && j.ID != e.job.ID && x.outranks(part, e.job, j, v.task.Ran(x.now))
		}})
	}
}

// claim takes back for the waiting tasks of a job, one after the other; for a
// gang all at once or nothing.
func (x *preemption) claim(t *turn, e *entry, r reclaim) {
	x.e.trim()
	units, _ := newUnits(x.view, e.job, x.now)
	c := x.e.classOf(e, t.q)
	// Where room is held for others, what is taken back would not be the job's.
	slots := slices.DeleteFunc(x.candidates(e, c), func(i int) bool { return !x.mayClaim(t, e, i, c.Need) })
	gang := e.job.Spec.Gang > 0
	if gang && (units.left() < e.job.Counts.Pending || !r.may(t.q.part.Path, units.need.Times(e.job.Spec.Gang))) {
		return
	}
	x.undo = nil
	cmds := len(x.cmds)
	for u := units.peek(); u != nil; u = units.peek() {
		units.pop()
		if x.left > 0 && r.may(t.q.part.Path, u.need) && x.claimOne(t, e, u, c, slots, r) {
			x.left--
			continue
		}
		if gang {
			x.cmds = x.cmds[:cmds]
			x.rollBack(0)
		}
		return
	}
}

// reclaim is by what right is taken back.
type reclaim struct {
	may     func(path string, need api.Resources) bool // so much more, at least beside what is on offer
	covered func(path string, need api.Resources) bool // as things are
	allow   allowed
	loans   bool // what is on offer ends for it, wherever that is
}

// allowed reports whether a task that needs so much may take it from a victim of
// a partition that loses so much in all.
type allowed func(need, lost api.Resources, v *victim) bool

// claimOne takes back for one task. It is false if that cannot be, or no more may run.
func (x *preemption) claimOne(t *turn, e *entry, u *unit, c *order.Class, slots []int, r reclaim) bool {
	switch {
	case len(x.running.Bars(e.job, 1)) > 0:
		return false
	case x.mine[e.job.ID] > 0: // it was taken back in an earlier pass
		x.mine[e.job.ID]--
		x.undo = append(x.undo, func() { x.mine[e.job.ID]++ })
	case r.covered(t.q.part.Path, u.need) && x.claimRoom(t, e, u, c, slots, r.allow) != nil:
	case !r.loans || !x.claimBesideLoans(t, e, u, c, slots, r.allow):
		return false
	}
	x.running.Add(e.job, 1)
	x.undo = append(x.undo, func() { x.running.Add(e.job, -1) })
	return true
}

// claimRoom is who gives the room for it, nil if that cannot be; of an empty list nobody
// has to.
func (x *preemption) claimRoom(t *turn, e *entry, u *unit, c *order.Class, slots []int, allow allowed) *victimSet {
	if i := x.promised(c, slots); i >= 0 && x.round.Room(t.q.part.Path, u.need) == "" {
		from, notice := x.told(i, u.need)
		x.promise(t, e, i, u.need, !x.e.slots.Free[i].Fits(u.need), notice, from)
		return &victimSet{slot: i}
	}
	set := x.victims(t, c, u.need, slots, allow, false)
	if set == nil {
		set = x.victims(t, c, u.need, slots, allow, true)
	}
	if set != nil {
		x.take(t, e, u, set)
	}
	return set
}

// promise gives the winner what a slot will have, and claims it if it cannot start
// there yet: for want of room, or of a limit that allows it. Those of whom it is taken
// may run on for as long as their notice.
func (x *preemption) promise(t *turn, e *entry, slot int, need api.Resources, claims bool, notice time.Duration, from []string) {
	left := x.comingTo(slot)
	x.coming[slot] = left.Minus(need)
	x.round.Charge(t.q.part.Path, need)
	var c *claim
	if claims {
		need := need
		need.Ports = nil
		c = &claim{job: e.job.ID, path: t.q.part.Path, node: x.e.slots.Node[slot].ID, need: need, until: x.now.Add(claimFor + notice), lasts: claimFor + notice, from: from}
		x.addClaim(c)
	}
	x.undo = append(x.undo, func() {
		if c != nil {
			x.dropClaim(c, slot)
		}
		x.coming[slot] = x.coming[slot].Add(need)
		x.round.Refund(t.q.part.Path, need)
	})
}

// comingTo is what a slot will have left once what is being taken back is
// there, less what was promised of it.
func (x *preemption) comingTo(i int) api.Resources {
	if r, ok := x.coming[i]; ok {
		return r
	}
	r := x.e.slots.Free[i].Add(x.e.slots.Coming[i])
	for _, c := range x.claims[i] {
		r = r.Minus(c.need)
	}
	x.coming[i] = r
	return r
}

// promised is a slot that will have room without taking anything more back.
func (x *preemption) promised(c *order.Class, slots []int) int {
	for _, i := range slots {
		if c.May(i) && order.Lacks(x.comingTo(i), c.Need, c.AnyPorts) == "" {
			return i
		}
	}
	return -1
}

// victim is a task that is to be preempted, or an offer.
type victim struct {
	task   *api.Task
	offer  *api.Offer
	freeze bool
	notice time.Duration
	gives  api.Resources
	waste  float64
}

// path is the partition that it is charged to.
func (v *victim) path() string {
	if v.offer != nil {
		return v.offer.Partition
	}
	return v.task.Partition
}

// key tells it from all others.
func (v *victim) key() string {
	if v.offer != nil {
		return "offer " + v.offer.ID
	}
	return v.task.ID
}

// victimSet is the tasks of one node that make room for one task.
type victimSet struct {
	slot int
	list []victim
	cost float64
}

// victims finds the node where the least work is lost. With force, tasks that
// would rather be frozen are ended: their memory is needed.
func (x *preemption) victims(t *turn, c *order.Class, need api.Resources, slots []int, allow allowed, force bool) *victimSet {
	var best *victimSet
	for _, i := range slots {
		if !c.May(i) {
			continue
		}
		set := x.victimsOn(t, c, need, i, allow, force)
		if set != nil && (best == nil || set.cost < best.cost) {
			best = set
		}
	}
	return best
}

func (x *preemption) victimsOn(t *turn, c *order.Class, need api.Resources, slot int, allow allowed, force bool) *victimSet {
	all := x.lentOn(slot)
	node := x.e.slots.Node[slot]
	for v := range x.view.NodeTasks(node.ID) {
		if d, ok := x.victim(v, node, force); ok {
			all = append(all, d)
		}
	}
	slices.SortStableFunc(all, func(a, b victim) int { return cmp.Compare(a.waste, b.waste) })
	set := &victimSet{slot: slot}
	left := x.comingTo(slot)
	lost := map[string]api.Resources{}
	enough := func() bool { return order.Lacks(left, need, c.AnyPorts) == "" && x.roomAfter(t, need, set.list) }
	for _, v := range all {
		if enough() {
			break
		}
		loses := lost[v.path()].Add(v.gives)
		if !allow(need, loses, &v) {
			continue
		}
		lost[v.path()] = loses
		left = left.Add(v.gives)
		set.list = append(set.list, v)
	}
	if !enough() || len(set.list) == 0 {
		return nil
	}
	x.spare(set, c, need, left, t)
	for _, v := range set.list {
		set.cost += v.waste
	}
	return set
}

// spare lets those continue that are not needed after all, the most valuable
// first.
func (x *preemption) spare(set *victimSet, c *order.Class, need, left api.Resources, t *turn) {
	for k := len(set.list) - 1; k >= 0; k-- {
		without := left.Minus(set.list[k].gives)
		rest := slices.Delete(slices.Clone(set.list), k, k+1)
		if len(rest) > 0 && order.Lacks(without, need, c.AnyPorts) == "" && x.roomAfter(t, need, rest) {
			left, set.list = without, rest
		}
	}
}

// roomAfter reports whether limits allow the need once the victims are gone.
func (x *preemption) roomAfter(t *turn, need api.Resources, list []victim) bool {
	path := t.q.part.Path
	if x.round.Room(path, need) == "" {
		return true
	}
	for _, v := range list {
		x.round.Refund(v.path(), v.gives)
	}
	ok := x.round.Room(path, need) == ""
	for _, v := range list {
		x.round.Charge(v.path(), v.gives)
	}
	return ok
}

// victim reports whether a task may be preempted now, and how.
func (x *preemption) victim(v *api.Task, node *api.Node, force bool) (victim, bool) {
	part := x.view.Partition(v.Partition)
	if part == nil || part.Preempt == api.PreemptNever || x.chosen[v.ID] || v.State != api.TaskRunning && v.State != api.TaskStarting && v.State != api.TaskStaging {
		return victim{}, false
	}
	if v.Desired != api.DesiredRun && !(v.Frozen && v.Desired == api.DesiredFreeze) {
		return victim{}, false
	}
	if !v.Preempted.IsZero() && x.now.Sub(v.Preempted) < time.Duration(part.MinRuntime) {
		x.again(v.Preempted.Add(time.Duration(part.MinRuntime)))
		return victim{}, false
	}
	d := victim{task: v, gives: v.Held(), waste: 1e-6 + x.lost(v)}
	if part.Preempt == api.PreemptFreeze && !force && node.Attrs[freezeAttr] != "no" && x.freezable(v) {
		if v.Frozen || v.State != api.TaskRunning {
			return victim{}, false
		}
		d.freeze, d.gives, d.waste = true, api.Resources{CPUs: v.Held().CPUs}, 1e-6
	} else if v.State == api.TaskRunning && !v.Frozen {
		d.notice = time.Duration(part.Notice)
	}
	return d, !d.gives.Equal(api.Resources{}) // all that it has may be reserved
}

// again asks for another pass at a time.
func (p *pass) again(at time.Time) {
	if at.After(p.now) && (p.next.IsZero() || at.Before(p.next)) {
		p.next = at
	}
}

// take tells the victims, and counts what they give as the winner's.
func (x *preemption) take(t *turn, e *entry, u *unit, set *victimSet) {
	kill, freeze := x.command(t, e, false), x.command(t, e, true)
	var told []string
	var ended recalled
	for _, v := range set.list {
		if x.giveWay(set.slot, v); v.offer != nil {
			ended = append(ended, v.offer)
			continue
		}
		one := fsm.Victim{Job: v.task.Job, Index: v.task.Index, Attempt: v.task.Attempt}
		if v.freeze {
			freeze.Victims = append(freeze.Victims, one)
		} else {
			kill.Victims = append(kill.Victims, one)
			if v.notice > 0 {
				told = append(told, v.task.ID)
			}
		}
	}
	if len(ended) > 0 {
		x.cmds = append(x.cmds, &fsm.OfferRemove{Meta: fsm.Meta{At: x.now, Actor: "scheduler"}, IDs: ended.ids(), Reason: "taken back " + kill.Cause})
	}
	x.looks.taken(e.job, len(set.list))
	x.undo = append(x.undo, func() { x.looks.taken(e.job, -len(set.list)) })
	for _, c := range []*fsm.TaskPreempt{kill, freeze} {
		if len(c.Victims) > 0 {
			x.cmds = append(x.cmds, c)
		}
	}
	x.promise(t, e, set.slot, u.need, true, set.notice(), told)
}

// giveWay counts what a victim gives.
func (x *preemption) giveWay(slot int, v victim) {
	x.gives(slot, v)
	x.undo = append(x.undo, func() { x.keeps(slot, v) })
}

func (x *preemption) gives(slot int, v victim) {
	if v.offer != nil {
		x.loans.count(v.offer, -1)
	}
	x.chosen[v.key()] = true
	x.coming[slot] = x.comingTo(slot).Add(v.gives)
	x.round.Refund(v.path(), v.gives)
}

func (x *preemption) keeps(slot int, v victim) {
	if v.offer != nil {
		x.loans.count(v.offer, 1)
	}
	delete(x.chosen, v.key())
	x.coming[slot] = x.comingTo(slot).Minus(v.gives)
	x.round.Charge(v.path(), v.gives)
}

func (x *preemption) command(t *turn, e *entry, freeze bool) *fsm.TaskPreempt {
	return &fsm.TaskPreempt{Meta: fsm.Meta{At: x.now, Actor: "scheduler"}, Freeze: freeze, Cause: api.CauseOf(e.job.ID, t.q.part.Path)}
}

// limits makes partitions give back what they hold above a limit that was
// lowered, the youngest tasks first. What moves is gone before it asks again.
func (x *preemption) limits() {
	for _, v := range x.moving {
		x.round.Refund(v.Partition, v.Held())
		defer x.round.Charge(v.Partition, v.Held())
	}
	for _, path := range x.round.Over() {
		var all []victim
		for i, n := range x.e.slots.Node {
			for _, v := range x.lentOn(i) {
				if api.PathWithin(v.path(), path) {
					all = append(all, v)
				}
			}
			for v := range x.view.NodeTasks(n.ID) {
				if !api.PathWithin(v.Partition, path) {
					continue
				}
				if d, ok := x.victim(v, x.e.slots.Node[i], true); ok {
					all = append(all, d)
				}
			}
		}
		slices.SortStableFunc(all, func(a, b victim) int { return cmp.Compare(a.waste, b.waste) })
		c := &fsm.TaskPreempt{Meta: fsm.Meta{At: x.now, Actor: "scheduler"}, Cause: "partition " + path + " is above its limit"}
		ended := &fsm.OfferRemove{Meta: c.Meta, Reason: c.Cause}
		for _, v := range all {
			if !slices.Contains(x.round.Over(), path) {
				break
			}
			x.chosen[v.key()] = true
			x.round.Refund(v.path(), v.gives)
			if v.offer != nil {
				ended.IDs = append(ended.IDs, v.offer.ID)
				continue
			}
			c.Victims = append(c.Victims, fsm.Victim{Job: v.task.Job, Index: v.task.Index, Attempt: v.task.Attempt})
		}
		if len(ended.IDs) > 0 {
			x.cmds = append(x.cmds, ended)
		}
		if len(c.Victims) > 0 {
			x.cmds = append(x.cmds, c)
		}
	}
}
