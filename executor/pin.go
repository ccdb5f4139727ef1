package executor

import (
	"context"
	"fmt"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/cores"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/prepare"
	"github.com/mesita/mesita/isolation"
)

// takeCores gives an attempt that asks for CPUs of its own those that it is to
// have; the journal keeps them from then on, whoever ends meanwhile.
func (e *Executor) takeCores(a *attempt) error {
	n := a.task.Resources.Pins
	if n == 0 {
		return nil
	}
	cpus, ok := e.cores.Take(a.id, prepare.Slice(a.task), int(n))
	if !ok {
		a.rec.Cores = nil
		return fmt.Errorf("node %s has no %s left that no other task has", e.cfg.Name, api.AmountText("cpus", 1000*n))
	}
	a.rec.Cores = cpus
	return nil
}

// holdCores notes what an attempt has that began before this daemon. Where the
// journal does not say, the kernel does.
func (e *Executor) holdCores(a *attempt, slice string) {
	if a.task.Resources.Pins == 0 {
		return
	}
	if len(a.rec.Cores) == 0 {
		a.rec.Cores = e.cores.Of(slice)
	}
	if len(a.rec.Cores) > 0 {
		e.cores.Hold(a.id, slice, a.rec.Cores)
	}
}

// holdUnclaimed is holdCores of what only the keeper knows, before any is given
// to others.
func (e *Executor) holdUnclaimed(st keeper.Status) {
	if cpus := e.cores.Of(st.Slice); runs(st) && len(cpus) > 0 {
		e.cores.Hold(st.ID, st.Slice, cpus)
	}
}

// giveCores gives back what an attempt had that has ended.
func (e *Executor) giveCores(a *attempt) {
	a.rec.Cores = nil
	e.giveBack(a.id)
}

func (e *Executor) giveBack(id string) {
	if e.cores.Give(id) {
		e.settleSoon()
	}
}

// settleFor has all others off the CPUs that are to be a task's own, before it
// starts: it never starts without.
func (e *Executor) settleFor(own []int) error {
	if len(own) == 0 {
		return fmt.Errorf("node %s does not know which CPUs are its own", e.cfg.Name)
	}
	return e.cores.Settle()
}

// settleSoon lets tasks that have no CPUs of their own run on all that are left.
// Until it is done they run on fewer.
func (e *Executor) settleSoon() {
	e.loop.ops.add(func(context.Context) {
		if err := e.cores.Settle(); err != nil {
			e.log.Warn("tasks that have no CPUs of their own may run on too few or too many", "error", err)
		}
	})
}

// beganBefore has an attempt kept off the CPUs that became others' own while its
// start was under way.
func (e *Executor) beganBefore(a *attempt) {
	if gen, taken := e.cores.Taken(); taken && gen != a.coresSeen && len(a.rec.Cores) == 0 {
		e.cores.Unsettle()
		e.settleSoon()
	}
}

// onCores adds to a process on which CPUs it runs.
func (e *Executor) onCores(s *isolation.Spec, own []int) {
	if len(own) > 0 {
		s.Limits.CPUs = cores.List(own)
		return
	}
	_, s.Limits.Shared = e.cores.Taken()
}
