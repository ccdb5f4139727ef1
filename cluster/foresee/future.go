package foresee

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/cluster/controller"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// Bounds of how far is looked ahead: in rounds, in commands, and in the time that
// the looking takes.
const (
	maxRounds   = 5000
	maxCommands = 50_000
	maxLooking  = 3 * time.Second
)

// onlyBegins is what a plan says that stopped at one of them.
const onlyBegins = "more would happen than is looked at: this is only how it begins"

// future is the state as it will be. Its clock stands still, unless a forecast turns
// it: no task ends by itself, and what waits for a time waits.
type future struct {
	fork    *fsm.Fork
	engine  *scheduler.Engine
	now     time.Time
	next    time.Time     // when the engine decides again without a change
	gave    []api.GaveWay // in their order
	partial bool          // it was not looked to the end
	passes  bool          // time does

	// Where they are not nil:
	placed  func(*fsm.TaskPlace) // is told of what the engine placed
	touched map[string]bool      // jobs that changed
}

// after is what a view comes to with a command, as an engine decides that is at
// the view; an error: it is refused, or ctx ended.
func after(ctx context.Context, v *fsm.View, engine *scheduler.Engine, now time.Time, cmd fsm.Command) (*future, error) {
	short, cancel := context.WithTimeout(ctx, maxLooking)
	defer cancel()
	x := &future{fork: v.Fork(), engine: engine, now: now}
	x.engine.Decide(now) // as the leader has: it knows for whom room is held
	if _, err := x.fork.Do(cmd); err != nil {
		return nil, err
	}
	x.settle(short)
	return x, context.Cause(ctx)
}

// settle lets all decide until nothing more changes, or ctx ends.
func (x *future) settle(ctx context.Context) {
	did, all := 0, true
	for range maxRounds {
		if ctx.Err() != nil {
			break
		}
		n, obeyed := x.step(x.engine.Decide, all)
		if n == 0 && !obeyed {
			return
		}
		if did += n; did > maxCommands {
			break
		}
		all = false
	}
	x.partial = true
}

// step lets all decide once, and nodes do what they are told; it tells how much was
// decided, and whether they did anything.
func (x *future) step(decide func(time.Time) ([]fsm.Command, time.Time), all bool) (n int, obeyed bool) {
	changes := x.follow()
	cmds, next := decide(x.now)
	x.next = next
	cmds = append(cmds, controller.Decide(x.fork.View(), x.now, changes, all)...)
	cmds = append(cmds, allocator.Adjust(x.fork.View(), x.now)...)
	for _, c := range cmds {
		x.do(c)
	}
	return len(cmds), x.obey(changes, all)
}

// follow has the engine see what changed.
func (x *future) follow() map[fsm.Change]struct{} {
	changes := x.fork.Take()
	x.engine.Update(x.fork.View(), changes, false)
	for ch := range changes {
		if x.touched != nil && ch.Table == fsm.TableJobs {
			x.touched[ch.ID] = true
		}
	}
	return changes
}

// do applies a command, which may be refused as it may in the log, and notes who
// is preempted by it.
func (x *future) do(c fsm.Command) {
	p, ok := c.(*fsm.TaskPreempt)
	if !ok {
		_, _ = x.fork.Do(c) // one that is stale by now is refused, and decided anew
		if place, ok := c.(*fsm.TaskPlace); ok && x.placed != nil {
			x.placed(place)
		}
		return
	}
	before := x.fork.View()
	_, _ = x.fork.Do(c)
	for _, v := range p.Victims {
		was, is := before.TaskOf(v.Job, v.Index), x.fork.View().TaskOf(v.Job, v.Index)
		if was == nil || is == nil || was.Desired != is.Desired {
			id := api.TaskID(v.Job, v.Index)
			g := api.GaveWay{Task: id, Freeze: p.Freeze, Cause: p.Cause}
			if was != nil {
				g.Partition, g.Node = was.Partition, was.Node
			}
			if is != nil && is.Leaving() {
				g.Notice = api.Duration(is.Leaves.Sub(x.now))
			}
			x.gave = append(x.gave, g)
		}
	}
}

// obey does what nodes would: it starts what was placed, ends what is told to,
// and freezes what is told to.
func (x *future) obey(changes map[fsm.Change]struct{}, all bool) (did bool) {
	touched := map[string]bool{}
	if all {
		for n := range x.fork.View().Nodes() {
			touched[n.ID] = true
		}
	}
	pending := x.fork.Take()
	for _, set := range []map[fsm.Change]struct{}{changes, pending} {
		for ch := range set {
			if ch.Table == fsm.TableNodeTasks || ch.Table == fsm.TableRooms {
				touched[ch.ID] = true
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(touched)) {
		v := x.fork.View()
		n := v.Node(id)
		if n == nil || n.State != api.NodeReady && n.State != api.NodeDraining {
			continue
		}
		report := &fsm.TaskReport{Meta: fsm.Meta{At: x.now, Actor: "plan"}}
		for t := range v.NodeTasks(id) {
			if s, ok := next(t, x.now, x.passes); ok {
				report.Statuses = append(report.Statuses, s)
			}
		}
		if len(report.Statuses) > 0 {
			x.do(report)
			did = true
		}
	}
	x.fork.Mark(pending)
	return did
}

// next is what a node reports of a task that is not yet as it is told to be. Where
// time passes, one that was told to leave runs on until it must; otherwise nobody waits
// for that.
func next(t *api.Task, now time.Time, passes bool) (api.TaskStatus, bool) {
	s := api.TaskStatus{Task: t.ID, Attempt: t.Attempt, NodeID: t.NodeID, State: api.TaskRunning, PID: max(1, t.PID), Time: now}
	switch {
	case t.Desired == api.DesiredStop || t.Desired == api.DesiredMove || t.Leaving() && !passes:
		s.State, s.ExitCode = api.TaskKilled, new(int)
	case t.State != api.TaskRunning:
	case t.Desired == api.DesiredFreeze && !t.Frozen:
		s.Frozen = true
	default:
		return s, false
	}
	return s, true
}
