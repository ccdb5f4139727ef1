package executor

import (
	"cmp"
	"context"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/journal"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/prepare"
)

// load takes on what the journal knows. After a reboot nothing of it runs:
// services wait to be started again, the rest has failed.
func (e *Executor) load() {
	for _, p := range e.past {
		a := newAttempt(p.Assignment)
		a.rec, a.stored = p.Record, true
		a.n, a.id = p.Record.Attempt, attemptID(a.task.ID, p.Record.Attempt)
		a.state = stateOf(p.Record.Phase)
		e.track(a)
		switch {
		case a.state == done:
			e.reports.add(*a.rec.Final)
		case a.state == acked:
		case e.reboot && a.restarts && a.task.Desired == api.DesiredRun:
			a.state = rebooted
			a.rec.Cores = nil // the CPUs may be others now
		case e.reboot:
			e.finishAs(a, verdict{api.TaskFailed, api.ReasonReboot, "node " + e.cfg.Name + " was rebooted while it ran"})
		}
	}
	for _, a := range e.loop.tasks {
		if !a.state.ended() && len(a.rec.Cores) > 0 {
			e.holdCores(a, prepare.Slice(a.task))
		}
	}
	if e.reboot { // a service that starts again finds nothing in its own
		e.removeTemps(e.prepare.Temps.Nobodys(nil))
	}
	e.stock()
	e.trimLater()
	e.past = nil
	e.loop.revive = e.after(e.cfg.RestartAfter, e.reviveAll)
	e.tidyLater()
}

// reviveAll starts the services again that ran before the reboot, and what was
// about to start when the daemon ended: this node was last told to run them,
// and has heard nothing else since. Who does hear from the cluster knows
// better: while the daemon was away they may have been started elsewhere.
func (e *Executor) reviveAll() {
	for _, a := range e.loop.tasks {
		if !e.loop.away || a.restarts {
			e.reviveOne(a)
		}
	}
}

func (e *Executor) reviveOne(a *attempt) {
	if e.loop.ready {
		e.happen(a, told, news{})
	}
}

// stateOf is the state of an attempt that the journal knows, before anybody is
// asked about it.
func stateOf(p journal.Phase) state {
	switch p {
	case journal.Assigned:
		return unsure
	case journal.Running:
		return recalled
	case journal.Ended:
		return done
	}
	return acked
}

// finishAs ends an attempt that has no process.
func (e *Executor) finishAs(a *attempt, why verdict) {
	a.state = done
	e.finish(a, why)
}

const resyncAgain = time.Second

// resync asks the keeper what runs, and takes it in.
func (e *Executor) resync() {
	l := &e.loop
	if l.resyncing {
		l.again = true
		return
	}
	l.resyncing = true
	seq, first := l.seq, !l.ready
	l.ops.add(func(ctx context.Context) {
		list, err := e.rt.Running(ctx)
		if err == nil && first && e.reboot {
			err = e.rt.Forget(ctx, lostIDs(list)...) // before the same attempts start again
		}
		if err != nil && ctx.Err() == nil {
			e.log.Error("the keeper cannot be reached; trying again", "error", err)
		}
		e.post(func() {
			l.resyncing = false
			switch {
			case err != nil:
				e.after(resyncAgain, e.resync)
			case l.again:
				l.again = false
				e.resync()
			default:
				e.takeIn(list, seq)
			}
		})
	})
}

func lostIDs(list []keeper.Status) []string {
	var out []string
	for _, st := range list {
		if st.State == keeper.Lost {
			out = append(out, st.ID)
		}
	}
	return out
}

// takeIn makes the attempts agree with what the keeper knows. An attempt that
// came to run after seq is not expected in the list.
func (e *Executor) takeIn(list []keeper.Status, seq uint64) {
	l := &e.loop
	byID := make(map[string]*attempt, len(l.tasks))
	for _, a := range l.tasks {
		byID[a.id] = a
	}
	seen := make(map[string]bool, len(list))
	for _, st := range list {
		seen[st.ID] = true
		if isBringing(st.ID) {
			e.takeBringing(st)
			continue
		}
		if a := byID[st.ID]; a != nil || l.first {
			e.take(a, st)
		} else {
			l.unclaimed.put(st)
			e.holdUnclaimed(st)
		}
	}
	e.missBringing(seen, seq)
	for _, a := range l.tasks {
		if !seen[a.id] && a.since <= seq {
			e.happen(a, missing, news{})
		}
	}
	if !l.ready {
		l.ready = true
		e.weighAll()
		e.settleSoon()
		e.leaveEnded()
		e.tidyTemps()
		if l.revive != nil {
			l.revive.Reset(e.cfg.RestartAfter)
		}
	}
}

// take takes in what the keeper says of an attempt; a is nil if nothing is known
// of it.
func (e *Executor) take(a *attempt, st keeper.Status) {
	ev := exited
	switch st.State {
	case keeper.Starting:
		ev = foundStarting
	case keeper.Running:
		ev = foundRunning
	case keeper.Lost:
		ev = keeperLost
	}
	switch {
	case a != nil:
		if runs(st) {
			e.placed(a, cmp.Or(st.Slice, a.slice, prepare.FormerSlice(a.task)))
			e.holdCores(a, a.slice)
		}
		e.happen(a, ev, news{status: st})
	case runs(st):
		e.killOrphan(st.ID)
	default:
		e.forget(st.ID)
	}
}

func (e *Executor) killOrphan(id string) {
	e.log.Warn("a process of an attempt that is not known here is killed", "attempt", id)
	e.killProcess(id)
}

// killProcess kills what there may be of an attempt that has no state here.
func (e *Executor) killProcess(id string) {
	e.loop.asks.add(func(ctx context.Context) {
		if err := e.rt.Kill(ctx, id); err != nil && !gone(err) && ctx.Err() == nil {
			e.log.Error("an unknown attempt was not killed", "attempt", id, "error", err)
		}
	})
}

// event takes in what the keeper tells.
func (e *Executor) event(st keeper.Status) {
	switch st.State {
	case keeper.Reset:
		e.resync()
	case keeper.Ended, keeper.Lost:
		if isBringing(st.ID) {
			e.takeBringing(st)
			return
		}
		if a := e.find(st.ID); a != nil || e.loop.first {
			e.take(a, st)
		} else {
			e.loop.unclaimed.put(st)
		}
	}
}

// find returns the attempt with that id of the keeper.
func (e *Executor) find(id string) *attempt {
	if a := e.loop.tasks[taskOf(id)]; a != nil && a.id == id {
		return a
	}
	return nil
}

func taskOf(id string) string {
	for i := len(id) - 1; i >= 0; i-- {
		if id[i] == '/' {
			return id[:i]
		}
	}
	return id
}

// reconcileIfFresh compares a new set with what runs, once that is known.
func (e *Executor) reconcileIfFresh() {
	if !e.loop.ready {
		return
	}
	e.mu.Lock()
	as, fresh, away := e.assigned, e.fresh, e.away
	e.fresh = false
	e.mu.Unlock()
	if !fresh {
		return
	}
	e.loop.away = away
	e.reconcile(as)
	if !e.loop.first {
		e.endUnclaimed()
		e.loop.first = true
		close(e.synced)
	}
}

func (e *Executor) reconcile(as []api.Assignment) {
	l := &e.loop
	l.gen++
	for i := range as {
		t := as[i].Task
		if t.State.Final() {
			continue
		}
		a := l.tasks[t.ID]
		switch {
		case a == nil:
			e.adopt(as[i])
			continue
		case t.Attempt == a.n:
			e.ofThisAge(a)
			e.update(a, as[i])
		case t.Attempt > a.n || a.rec.Former:
			e.supersede(a, as[i])
			a = l.tasks[t.ID]
		}
		a.gen = l.gen // an older attempt is of a view that lags behind
	}
	for id, a := range l.tasks {
		if a.gen == l.gen {
			continue
		}
		a.next = nil
		switch {
		case !a.state.ended():
			e.abandon(a)
		case a.state == acked:
			e.bury(id, a)
		}
	}
}

// ofThisAge notes that the cluster knows an attempt that an earlier age of it
// began.
func (e *Executor) ofThisAge(a *attempt) {
	if a.rec.Former {
		a.rec.Former = false
		e.journal.PutSoon(a.task.ID, nil, a.rec, nil)
	}
}

// adopt takes on a task that is not known here.
func (e *Executor) adopt(as api.Assignment) {
	t := as.Task
	if e.loop.graves.holds(t.ID, t.Attempt) {
		return // ended here, and the set is of a view that lags behind
	}
	if st, ok := e.loop.unclaimed[attemptID(t.ID, t.Attempt)]; ok {
		e.claim(as, st)
		return
	}
	switch {
	case t.Desired == api.DesiredStop, t.Desired == api.DesiredMove && t.State < api.TaskRunning:
		a := newAttempt(as)
		a.gen = e.loop.gen
		e.track(a)
		e.finishAs(a, verdict{api.TaskKilled, stopReason(t), "it was stopped before it started"})
	case t.State == api.TaskRunning || t.State == api.TaskKilling || t.State == api.TaskUnreachable:
		// Starting it once more could run it twice.
		a := newAttempt(as)
		a.gen = e.loop.gen
		e.track(a)
		e.finishAs(a, verdict{api.TaskLost, api.ReasonInternal, "node " + e.cfg.Name + " knows nothing of it: its journal was removed, or it belonged to another age of the cluster"})
	default:
		e.begin(as)
	}
}

// update takes in a newer value of the same attempt.
func (e *Executor) update(a *attempt, as api.Assignment) {
	if as.Task.Desired == api.DesiredRun && !e.loop.away {
		e.reviveOne(a)
	}
	if a.task == as.Task && a.spec == as.Spec {
		return
	}
	was, limit, holds := a.task.Desired, a.spec.CPULimit, a.task.Resources
	a.task, a.spec, a.restarts, a.job = as.Task, as.Spec, as.Restarts, as.Submission
	if a.state == stopping {
		e.hurry(a)
	}
	if a.state.ended() || a.why != nil {
		return
	}
	if !a.task.Resources.Equal(holds) {
		e.weigh(a)
		e.fitMemory(a)
	}
	moved := a.spec.CPULimit != limit
	if moved {
		a.rec.Lifted = a.spec.CPULimit == 0
		e.weigh(a)
	}
	if moved || !stays(a.task) || a.task.Desired != was {
		e.journal.PutSoon(a.task.ID, &as, a.rec, nil)
	}
	if stays(a.task) {
		e.setFreezer(a)
		e.giveNotice(a)
		return
	}
	e.happen(a, stop, news{why: verdict{api.TaskKilled, stopReason(a.task), ""}})
}

// stays reports whether the cluster wants the task to stay on this node for now.
func stays(t *api.Task) bool {
	return t.Desired == api.DesiredRun || t.Desired == api.DesiredFreeze || t.Desired == api.DesiredLeave
}

// stopReason is why the cluster wants the task to stop.
func stopReason(t *api.Task) api.Reason {
	if t.Reason != api.ReasonNone {
		return t.Reason
	}
	return api.ReasonStopped
}

// supersede ends an attempt for a newer one of the same task.
func (e *Executor) supersede(a *attempt, as api.Assignment) {
	if a.state.ended() {
		e.replace(a, as)
		return
	}
	a.next = &as
	e.happen(a, kill, news{why: verdict{api.TaskKilled, api.ReasonReplaced, "a newer attempt replaced it"}})
}

func (e *Executor) replace(a *attempt, as api.Assignment) {
	delete(e.loop.tasks, a.task.ID)
	e.forget(a.id) // the cluster has decided without it
	e.adopt(as)
	if e.loop.tasks[as.Task.ID] == nil {
		e.loop.tasks[as.Task.ID] = a
	}
}

// abandon ends an attempt that this node is not to run any more.
func (e *Executor) abandon(a *attempt) {
	e.happen(a, kill, news{why: verdict{api.TaskKilled, api.ReasonReplaced, "it is not assigned to node " + e.cfg.Name + " any more"}})
}

// acknowledged is called when the cluster has the statuses.
func (e *Executor) acknowledged(sts []api.TaskStatus) {
	e.post(func() {
		for i := range sts {
			a := e.loop.tasks[sts[i].Task]
			if a != nil && a.n == sts[i].Attempt && sts[i].State.Final() {
				e.happen(a, acknowledged, news{})
			}
		}
	})
}

// ack takes note that the cluster has the attempt's final status.
func (e *Executor) ack(a *attempt) {
	a.rec.Phase, a.rec.Touched = journal.Acked, e.cfg.Now()
	a.forgotten = true
	e.forget(a.id)
	if e.loop.first && a.gen != e.loop.gen {
		e.bury(a.task.ID, a)
		return
	}
	e.journal.PutSoon(a.task.ID, nil, a.rec, nil)
}

// bury forgets an attempt that has ended, is acknowledged and is not assigned,
// but for its number: a set of a view that lags behind may name it once more.
func (e *Executor) bury(id string, a *attempt) {
	delete(e.loop.tasks, id)
	if !a.rec.Former {
		e.loop.graves.dig(id, a.n)
	}
	e.journal.Remove(id)
}

// forget tells the keeper that the cluster knows of an attempt's end, or wants
// to know nothing of it.
func (e *Executor) forget(id string) { e.loop.forgets = append(e.loop.forgets, id) }

func (e *Executor) flushForgets() {
	ids := e.loop.forgets
	if len(ids) == 0 {
		return
	}
	e.loop.forgets = nil
	e.loop.ops.add(func(ctx context.Context) {
		if err := e.rt.Forget(ctx, ids...); err != nil && ctx.Err() == nil {
			e.log.Warn("the keeper was not told what is done; it is told at the next start", "error", err)
		}
	})
}

// graves remembers the newest attempt of tasks that ended lately, a bounded
// number of them.
type graves struct {
	newest map[string]int
	order  []string
}

const maxGraves = 20_000

func (g *graves) dig(id string, n int) {
	if g.newest == nil {
		g.newest = map[string]int{}
	}
	if _, ok := g.newest[id]; !ok {
		g.order = append(g.order, id)
	}
	g.newest[id] = max(g.newest[id], n)
	if len(g.order) > maxGraves {
		delete(g.newest, g.order[0])
		g.order = g.order[1:]
	}
}

func (g *graves) holds(id string, n int) bool { return g.newest[id] > 0 && g.newest[id] >= n }
