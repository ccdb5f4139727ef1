package scheduler

import "time"

// Promised is when the jobs can start for which room is kept below limits, as far as
// that is known.
func (e *Engine) Promised() map[string]time.Time {
	out := map[string]time.Time{}
	for _, q := range e.quotas {
		if !q.Blind && !q.At.IsZero() {
			out[q.Job] = q.At
		}
	}
	return out
}
