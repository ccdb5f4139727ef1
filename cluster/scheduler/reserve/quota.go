package reserve

import (
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

// Quota is what a partition keeps below its own limit for the first job that
// the limit holds back: a Hold, but of no node. Jobs behind it start only if
// they end before it can, or if enough is left beside it then.
type Quota struct {
	Job      string
	Need     api.Resources
	At       time.Time     // when the job can start; zero: when tasks of unknown length end
	Released api.Resources // what will have come back by then
}

// FindQuota is when a job of that need can start below a limit, as tasks end in
// the order of their ends; nil if it cannot. room tells whether it may once so
// much came back.
func FindQuota(job string, need api.Resources, ends []Release, room func(released api.Resources) bool) *Quota {
	q := &Quota{Job: job, Need: need}
	slices.SortStableFunc(ends, Release.compare)
	found := false
	for _, r := range ends {
		if found && (r.At.IsZero() || !r.At.Equal(q.At)) {
			break // what comes back at the same time is left to others
		}
		q.At, q.Released = r.At, q.Released.Add(r.Held)
		found = found || room(q.Released)
	}
	if !found {
		return nil
	}
	return q
}
