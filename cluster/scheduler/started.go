package scheduler

import (
	"time"

	"github.com/mesita/mesita/api"
)

// started is what a pass has decided to start so far. The view is from before
// it, so every rule that looks at what runs looks here, too.
type started struct {
	all    []start
	onSlot map[int][]int    // of all, by slot
	inPart map[string][]int // and by partition
}

// start is one task of it.
type start struct {
	job  *api.Job
	node *api.Node
	slot int
	held api.Resources
}

func newStarted() *started {
	return &started{onSlot: map[int][]int{}, inPart: map[string][]int{}}
}

func (s *started) add(x start) {
	i := len(s.all)
	s.all = append(s.all, x)
	s.onSlot[x.slot] = append(s.onSlot[x.slot], i)
	s.inPart[x.job.Spec.Partition] = append(s.inPart[x.job.Spec.Partition], i)
}

// release is when a task that starts now gives back what it holds; false: it
// has no end.
func (p *pass) release(x start) (r release, ends bool) {
	if x.job.Spec.Kind != api.KindBatch {
		return release{}, false
	}
	r = release{slot: x.slot, held: times(x.held, 1), fresh: true}
	if d := bound(x.job); d > 0 {
		r.at = p.now.Add(d)
	}
	return r, true
}

// bound is how long a task of a job runs at most, which its node sees to; zero:
// as long as it likes. Promises are made of bounds: what earlier runs took says
// nothing of the next.
func bound(j *api.Job) time.Duration {
	if j.Spec.Kind != api.KindBatch {
		return 0
	}
	return time.Duration(j.Spec.Time)
}
