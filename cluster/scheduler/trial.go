package scheduler

import (
	"maps"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// trials decides about one task as the leader would in its next pass, with
// something changed: it is how an advice is known to help before it is given.
type trials struct {
	engine  *Engine
	base    *fsm.View
	now     time.Time
	job     string
	index   int
	memory  *Memory // after the pass that found the task waiting
	changed map[fsm.Change]struct{}
	left    int // of the work that may be spent
	clock   func() time.Time
	until   time.Time // by the clock, no trial begins from then on
	on      string    // node on which it started last
}

// Work is counted in passes; a cluster or a backlog that is large makes each
// count for more. How long they take is bounded too: a pass may walk a long
// backlog.
const (
	trialTime   = 100 * time.Millisecond
	maxTrials   = 600
	trialNodes  = 250
	reloadCosts = 500 // jobs read anew for one more
)

// change makes a copy of the state be what it would be; an error: it cannot.
type change func(f *fsm.Fork) error

// starts reports whether the task starts with that changed: it is placed, or
// others are preempted for it. Once nothing may be spent any more, nothing does.
func (x *trials) starts(do change) bool {
	f := x.base.Fork()
	if err := do(f); err != nil {
		return false
	}
	changes := f.Take()
	cost := 1 + len(x.engine.slots.Node)/trialNodes
	for ch := range changes {
		if ch.Table == fsm.TablePartitions {
			cost += len(x.engine.jobs) / reloadCosts
		}
	}
	if x.left -= cost; x.left < 0 || !x.clock().Before(x.until) {
		return false
	}
	all := maps.Clone(changes)
	maps.Copy(all, x.changed) // of the trial before: that is over
	x.changed = changes
	x.engine.Update(f.View(), all, false)
	x.engine.recall(x.memory)
	w := &watch{job: x.job}
	p := x.engine.pass(x.now, w, true)
	if id := placedOn(p.cmds, x.job, x.index); id != "" {
		x.on = x.base.Node(id).Name
		return true
	}
	return w.took > 0
}

// placedOn is the id of the node to which commands send a task, "" if to none.
func placedOn(cmds []fsm.Command, job string, index int) string {
	for _, c := range cmds {
		if place, ok := c.(*fsm.TaskPlace); ok {
			for i := range place.Placements {
				if place.Placements[i].Job == job && place.Placements[i].Index == index {
					return place.Placements[i].NodeID
				}
			}
		}
	}
	return ""
}

// asks has the task's job ask for something else.
func (x *trials) asks(spec *api.JobSpec, edit func(s *api.JobSpec)) change {
	return func(f *fsm.Fork) error {
		s := *spec
		edit(&s)
		if err := s.Validate(); err != nil {
			return err
		}
		f.Ask(x.job, &s)
		return nil
	}
}

// puts has partitions be others.
func (x *trials) puts(parts []*api.Partition) change {
	return func(f *fsm.Fork) error {
		for _, p := range parts {
			if _, err := f.Do(&fsm.PartitionPut{Meta: fsm.Meta{At: x.now, Actor: "why"}, Partition: p}); err != nil {
				return err
			}
		}
		return nil
	}
}

// most is the largest number from 1 to below bad with which the task starts; 0
// if there is none. With bad it does not.
func most(bad int64, starts func(n int64) bool) int64 {
	if bad <= 1 || !starts(1) {
		return 0
	}
	good := int64(1)
	for bad-good > 1 {
		if mid := good + (bad-good)/2; starts(mid) {
			good = mid
		} else {
			bad = mid
		}
	}
	return good
}

// least is the smallest number above bad, and at most so large, with which the
// task starts; 0 if there is none. With bad it does not.
func least(bad, atMost int64, starts func(n int64) bool) int64 {
	good, step := bad, int64(1)
	for {
		if good >= atMost {
			return 0
		}
		next := min(good+step, atMost)
		if starts(next) {
			good = next
			break
		}
		bad, good, step = next, next, 2*step
	}
	for good-bad > 1 {
		if mid := bad + (good-bad)/2; starts(mid) {
			good = mid
		} else {
			bad = mid
		}
	}
	return good
}
