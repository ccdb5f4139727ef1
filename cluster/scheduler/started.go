package scheduler

import (
	"iter"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/reserve"
)

// started is what a pass has decided to start so far. The view is from before
// it, so every rule that looks at what runs looks here, too.
type started struct {
	all    []start
	onSlot []int32          // the last of all on each slot, counted from 1
	inPart map[string]int32 // and in each partition
}

// start is one task of it.
type start struct {
	job            *api.Job
	slot           int32
	onSlot, inPart int32 // the one before it there, counted from 1; 0: none
}

// newStarted has room for as many as there were before.
func newStarted(slots int, before *started) *started {
	s := &started{onSlot: make([]int32, slots), inPart: map[string]int32{}}
	if before != nil {
		s.all = make([]start, 0, len(before.all))
	}
	return s
}

func (s *started) add(j *api.Job, slot int) {
	path := j.Spec.Partition
	s.all = append(s.all, start{j, int32(slot), s.onSlot[slot], s.inPart[path]})
	n := int32(len(s.all))
	s.onSlot[slot], s.inPart[path] = n, n
}

// Len is how many there are.
func (s *started) Len() int { return len(s.all) }

// At is one of them.
func (s *started) At(i int) (job string, slot int) { return s.all[i].job.ID, int(s.all[i].slot) }

// on yields what starts on a slot, the latest first.
func (s *started) on(slot int) iter.Seq[start] {
	return func(yield func(start) bool) {
		for n := s.onSlot[slot]; n > 0 && yield(s.all[n-1]); n = s.all[n-1].onSlot {
		}
	}
}

// in yields what starts in a partition, the latest first.
func (s *started) in(path string) iter.Seq[start] {
	return func(yield func(start) bool) {
		for n := s.inPart[path]; n > 0 && yield(s.all[n-1]); n = s.all[n-1].inPart {
		}
	}
}

// release is when a task that starts now gives back what it holds; false: it
// has no end.
func (p *pass) release(x start) (r reserve.Release, ends bool) {
	if x.job.Spec.Kind != api.KindBatch {
		return reserve.Release{}, false
	}
	r = reserve.Release{Slot: int(x.slot), Path: x.job.Spec.Partition, Held: x.job.Spec.Need().Times(1), Grace: graceOf(x.job.Spec)}
	if d := bound(x.job.Spec); d > 0 {
		r.At = p.now.Add(d)
	}
	return r, true
}

// bound is how long a task of a job runs at most, which its node sees to; zero:
// as long as it likes. Promises are made of bounds: what earlier runs took says
// nothing of the next.
func bound(s *api.JobSpec) time.Duration {
	if s == nil || s.Kind != api.KindBatch {
		return 0
	}
	return time.Duration(s.Time)
}
