package executor

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/keeper"
)

// unclaimed are the attempts that the keeper knows and the journal does not, by
// id. They wait for the first set of assignments, since a journal may be lost:
// what is in the set is taken on, the rest is ended.
type unclaimed map[string]keeper.Status

// put takes note of one; what the keeper said of its end stands.
func (u *unclaimed) put(st keeper.Status) {
	if *u == nil {
		*u = unclaimed{}
	}
	if old, ok := (*u)[st.ID]; !ok || runs(old) {
		(*u)[st.ID] = st
	}
}

func runs(st keeper.Status) bool { return st.State == keeper.Starting || st.State == keeper.Running }

// claim takes on an attempt that is assigned, and that the keeper knows though
// the journal does not.
func (e *Executor) claim(as api.Assignment, st keeper.Status) {
	e.log.Warn("an attempt that the journal lacks is taken on as the keeper tells it", "attempt", st.ID, "state", st.State)
	delete(e.loop.unclaimed, st.ID)
	a := newAttempt(as)
	a.state = unsure
	a.gen, a.stored, a.rec.Touched = e.loop.gen, true, e.cfg.Now()
	e.track(a)
	e.journal.PutSoon(a.task.ID, &as, a.rec, nil)
	e.take(a, st)
	if !stays(a.task) {
		e.happen(a, stop, news{why: verdict{api.TaskKilled, stopReason(a.task), ""}})
	}
}

// endUnclaimed ends what the first set of assignments did not name.
func (e *Executor) endUnclaimed() {
	for _, st := range e.loop.unclaimed {
		e.giveBack(st.ID)
		e.take(nil, st)
	}
	e.loop.unclaimed = nil
}
