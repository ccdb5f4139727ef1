package order

import (
	"hash/fnv"
	"iter"
	"strconv"

	"github.com/mesita/mesita/api"
)

// Seat is one job's turn at the order of nodes of its class. While it sits,
// slots that have tasks of the job stand further back there; when it leaves,
// they are put where they belong.
type Seat struct {
	Class   *Class
	job     *api.Job
	count   map[int]int // tasks of the job, by slot, if they are to be spread
	inGroup []int       // and by group
	barred  map[int]bool
}

// NewSeat takes the turn of a job whose tasks are on those nodes.
func NewSeat(c *Class, job *api.Job, on iter.Seq[string]) *Seat {
	s := &Seat{Class: c, job: job}
	spread := c.placement == api.PlaceSpread && job.Spec.Kind == api.KindService
	if !spread && job.Spec.Spread == "" {
		return s
	}
	if spread {
		s.count = map[int]int{}
	}
	s.inGroup = make([]int, len(c.groups))
	for node := range on {
		if i, ok := c.s.Of(node); ok {
			s.note(i)
		}
	}
	return s
}

func (s *Seat) note(i int) {
	if s.count != nil {
		s.count[i]++
	}
	if s.inGroup != nil {
		s.inGroup[s.Class.where[i]]++
	}
}

// Enter puts the slots where the job's tasks make them stand.
func (s *Seat) Enter() {
	s.Class.CatchUp()
	for i := range s.count {
		s.move(i)
	}
	for i := range s.barred {
		s.move(i)
	}
}

// Sync follows what others took since, while the job sits.
func (s *Seat) Sync() {
	if s.Class.Near != nil && s.Class.Near.follow() {
		s.Class.Build()
		s.Enter()
		return
	}
	changes, known := s.Class.s.since(s.Class.epoch, s.Class.pos)
	if !known {
		s.Class.Build()
		s.Enter()
		return
	}
	for _, i := range changes {
		s.move(int(i))
	}
	s.Class.pos = s.Class.s.pos()
}

// Leave puts the slots back where they belong.
func (s *Seat) Leave() {
	for i := range s.Class.moved {
		s.Class.update(i)
	}
	clear(s.Class.moved)
	s.barred = nil
}

// move puts a slot where the job's own tasks make it stand.
func (s *Seat) move(i int) {
	if s.barred[i] {
		s.Class.bar(i)
		s.Class.moved[i] = true
		return
	}
	key := s.Class.keyOf(i)
	if n := s.count[i]; n > 0 && s.Class.placement != api.PlaceWeighted {
		key += float64(n) * perTask
		s.Class.moved[i] = true
	}
	s.Class.set(i, key)
}

// Bar takes a slot out of the order until the job leaves, also of one that is
// made anew meanwhile: what a draw gives depends on who takes part.
func (s *Seat) Bar(i int) {
	if s.barred == nil {
		s.barred = map[int]bool{}
	}
	s.barred[i] = true
	s.move(i)
}

// Barred reports whether slots are out of the order while the job sits.
func (s *Seat) Barred() bool { return len(s.barred) > 0 }

// Taken notes that a task of the job went to a slot.
func (s *Seat) Taken(i int) {
	s.note(i)
	s.Sync()
	if s.Class.Near != nil && s.Class.Near.Note(s.job.ID, s.Class.s.Node[i]) {
		s.Class.Build()
		s.Enter()
	}
}

// Best is the slot for a task, -1 if none can take it.
func (s *Seat) Best(index, attempt int) int {
	found, fewest := -1, 0
	var key float64
	for g := range s.Class.groups {
		n := 0
		if s.inGroup != nil && s.job.Spec.Spread != "" {
			n = s.inGroup[g]
		}
		if found >= 0 && n > fewest {
			continue
		}
		i, k := s.Class.groups[g].choose(s.job.ID, index, attempt)
		if i >= 0 && (found < 0 || n < fewest || k < key) {
			found, fewest, key = i, n, k
		}
	}
	return found
}

// choose is a group's best slot, or one drawn.
func (g *group) choose(job string, index, attempt int) (slot int, key float64) {
	if g.draw != nil {
		i := g.draw.draw(lot(job, index, attempt))
		if i < 0 {
			return -1, 0
		}
		return int(g.members[i]), -g.draw.sum[1]
	}
	i, key := g.best.min()
	if i < 0 {
		return -1, 0
	}
	return int(g.members[i]), key
}

// lot is a number from 0 to below 1 that depends on the attempt alone, so that
// every node that decides the same draws the same.
func lot(job string, index, attempt int) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(job + "." + strconv.Itoa(index) + "#" + strconv.Itoa(attempt))) // a hash never fails
	x := h.Sum64()
	x ^= x >> 33 // the low bits of this hash are the better ones
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}
