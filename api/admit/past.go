package admit

import (
	"cmp"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// A job may have come from a partition of which a reader sees nothing, and its name may
// have been another's. Of what was there it is told nothing. Where nobody knows where a
// job was, it was elsewhere.

// Past is what a reader of one view sees of where jobs were before.
type Past struct {
	view  *fsm.View
	id    auth.Identity
	all   bool              // there is nothing that it does not see
	asked map[*api.Job]bool // whether it sees all of their past
}

// PastOf is that of a reader, whose rights are as of the view.
func PastOf(v *fsm.View, id auth.Identity, all bool) Past {
	p := Past{view: v, id: id, all: all}
	if !all {
		p.asked = map[*api.Job]bool{}
	}
	return p
}

// ReadsIn reports whether the caller would see the job in that partition.
func (s *Past) ReadsIn(j *api.Job, partition string) bool {
	return s.all || auth.May(s.id, auth.ReadLogs, auth.Object{Partition: partition, Job: cmp.Or(j.Spec.Name, j.ID)}) == nil
}

// Place reports whether the caller would see the job at the last of the places that
// are at or before something.
func (s *Past) Place(j *api.Job, from func(*api.JobPlace) bool) bool {
	for i := range slices.Backward(j.Places) {
		if p := &j.Places[i]; from(p) {
			return s.ReadsIn(j, p.Partition)
		}
	}
	return false
}

// KnownSince is since when a job that does not say where it was is known to have been
// where the caller sees it. A version is in its history with the time of its last change.
func (s *Past) KnownSince(j *api.Job) time.Time {
	since, next := j.Updated, j.Version
	for _, h := range slices.Backward(j.History) {
		if h.Version != next-1 || h.Spec == nil || !s.ReadsIn(j, h.Spec.Partition) {
			return since
		}
		since, next = h.Created, h.Version
	}
	if next == 1 && j.Created.Before(since) {
		return j.Created
	}
	return since
}

// Version reports whether the caller would see the job where it was as of that version.
func (s *Past) Version(j *api.Job, version int) bool {
	if len(j.Places) > 0 {
		return s.Place(j, func(p *api.JobPlace) bool { return p.Version <= version })
	}
	spec := j.SpecOf(version)
	return spec != nil && s.ReadsIn(j, spec.Partition)
}

// AllOf reports whether all that a job ever was the caller would see.
func (s *Past) AllOf(j *api.Job) bool {
	if s.all {
		return true
	}
	sees, asked := s.asked[j]
	if !asked {
		// Of the first places a job that moved often remembers none, nor does one that was
		// made before places were noted.
		sees = len(j.Places) == 0 || j.Places[0].Version == 1
		for _, p := range j.Places {
			sees = sees && s.ReadsIn(j, p.Partition)
		}
		for v := 1; v <= j.Version && sees && len(j.Places) == 0; v++ {
			sees = s.Version(j, v)
		}
		s.asked[j] = sees
	}
	return sees
}

// Untold reports whether what a task says of an end is of where the caller does not see
// its job: until it ends itself, that is its last attempt's.
func (s *Past) Untold(j *api.Job, t *api.Task) bool {
	if n := len(t.Earlier); j != nil && !s.AllOf(j) {
		return !s.Version(j, t.Version) || n > 0 && !t.State.Final() && !s.Version(j, t.Earlier[n-1].Version)
	}
	return false
}

// RanHere reports whether the caller sees the job of a task where it was as the attempt
// of now began, which it may have brought from there.
func (s *Past) RanHere(t *api.Task) bool {
	j := s.view.Job(t.Job)
	return j == nil || s.AllOf(j) || s.Version(j, t.Version)
}
