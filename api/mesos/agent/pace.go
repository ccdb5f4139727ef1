package agent

import (
	"time"

	"github.com/mesita/mesita/api"
)

// How often what changes no state is told of a task: each costs the cluster a write.
const (
	tellBurst = 100 // at once
	tellEvery = time.Second
)

// pace is that of the updates of one task.
type pace struct {
	said uint64    // the states that were told, a bit each
	full time.Time // as many were told as may be until then
}

// next is when an update of a state may be told. What is new may at once.
func (p *pace) next(s api.TaskState, now time.Time) time.Time {
	if s.Final() || p.said&(1<<s) == 0 {
		return now
	}
	return p.full.Add(-(tellBurst - 1) * tellEvery)
}

// told takes note that one was told.
func (p *pace) told(s api.TaskState, now time.Time) {
	p.said |= 1 << s
	if p.full.Before(now) {
		p.full = now
	}
	p.full = p.full.Add(tellEvery)
}

// unhurried has what waits for its time be told then; the caller holds the lock.
func (d *Desk) unhurried(now time.Time, due func(time.Time) bool) {
	for _, h := range d.hosts {
		for _, t := range h.tasks {
			if len(t.waiting) > 0 && due(t.pace.next(t.waiting[0].status.State, now)) {
				poke(d.reports)
			}
		}
	}
}
