package executor

import (
	"context"
	"fmt"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/health"
)

// How often a change of what a check found is told: each costs the cluster a write.
const (
	tellBurst = 10
	tellSpan  = time.Minute
)

// probing is one check of a running attempt. The loop owns it.
type probing struct {
	probe  *api.Probe
	health *health.State // nil: what is found is told, and nothing follows
	cancel context.CancelFunc
	timer  *time.Timer
}

// findings are what the checks of an attempt found.
type findings struct {
	looks   []*probing
	healthy *bool
	check   *api.ProbeStatus
	why     string // it is not healthy
	pace    health.Pace
	telling *time.Timer // nil: nothing is to be told
}

// beginLooks begins to look at an attempt that runs.
func (e *Executor) beginLooks(a *attempt) {
	if len(a.found.looks) > 0 || a.state != running {
		return
	}
	a.found.pace = health.Pace{Burst: tellBurst, Span: tellSpan}
	if h := a.spec.Health; h != nil {
		s := &health.State{Policy: health.Policy{Grace: time.Duration(h.Grace), Failures: h.Failures}}
		if was := a.task.Healthy; was != nil { // as an earlier daemon found it
			a.found.healthy = was
			s.Resume(*was)
		}
		e.beginLook(a, &probing{probe: &h.Probe, health: s})
	}
	if c := a.spec.Check; c != nil {
		if a.found.check = a.task.Check; a.found.check == nil {
			a.found.check = &api.ProbeStatus{Kind: c.Kind}
		}
		e.beginLook(a, &probing{probe: c})
	}
}

func (e *Executor) beginLook(a *attempt, l *probing) {
	a.found.looks = append(a.found.looks, l)
	ran := e.cfg.Uptime() - a.rec.Up
	l.timer = e.after(time.Duration(l.probe.Delay)-ran, func() { e.look(a, l) })
}

// look looks once, beside the loop. At a task that is stopped in place nobody looks.
func (e *Executor) look(a *attempt, l *probing) {
	if a.state != running {
		return
	}
	if !a.freezer.idle() {
		l.timer = e.after(time.Duration(l.probe.Interval), func() { e.look(a, l) })
		return
	}
	ctx, cancel := context.WithCancel(e.loop.ctx)
	l.cancel = cancel
	task, n := a.task.ID, a.n
	e.loop.work.Go(func() {
		f := health.Look(ctx, l.probe, func(ctx context.Context, c *api.Probe) (int, error) {
			return e.Exec(ctx, ExecRequest{Task: task, Attempt: n, Command: c.Command, Env: c.Env})
		})
		e.post(func() {
			cancel()
			e.looked(a, l, f)
		})
	})
}

// looked takes in what a look found.
func (e *Executor) looked(a *attempt, l *probing, f health.Finding) {
	if a.state != running {
		return
	}
	l.timer = e.after(time.Duration(l.probe.Interval), func() { e.look(a, l) })
	if !a.freezer.idle() {
		return // it was stopped in place meanwhile
	}
	if l.health == nil {
		is := &api.ProbeStatus{Kind: l.probe.Kind, Code: f.Code, Open: f.Open}
		if !is.Equal(a.found.check) {
			a.found.check = is
			e.tellFound(a)
		}
		return
	}
	v := l.health.Found(e.cfg.Uptime()-a.rec.Up, f.OK)
	if v.Changed {
		a.found.healthy, a.found.why = &v.Healthy, f.Text
	}
	switch {
	case v.End:
		e.happen(a, stop, news{why: verdict{api.TaskKilled, api.ReasonHealth, fmt.Sprintf("its health check failed %d times in a row: %s", v.InARow, f.Text)}})
	case v.Changed:
		e.tellFound(a)
	}
}

// tellFound tells the cluster what was found, now or when it may be told.
func (e *Executor) tellFound(a *attempt) {
	if a.found.telling != nil {
		return
	}
	now := e.cfg.Uptime()
	a.found.telling = e.after(a.found.pace.Next(now)-now, func() {
		a.found.telling = nil
		if a.state != running || !a.freezer.idle() {
			return // what is told next has it
		}
		st := e.status(a, api.TaskRunning, a.rec.Started)
		st.Message = a.found.why
		e.reports.add(st)
	})
}

// endLooks ends what looks at an attempt.
func (a *attempt) endLooks() {
	for _, l := range a.found.looks {
		if l.timer != nil {
			l.timer.Stop()
		}
		if l.cancel != nil {
			l.cancel()
		}
	}
	a.found.looks = nil
	if a.found.telling != nil {
		a.found.telling.Stop()
		a.found.telling = nil
	}
}
