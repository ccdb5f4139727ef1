package scheduler

import (
	"hash/fnv"
	"strconv"

	"github.com/mesita/mesita/api"
)

// seat is one job's turn at the order of nodes of its class. While it sits,
// slots that have tasks of the job stand further back there; when it leaves,
// they are put where they belong.
type seat struct {
	c       *class
	job     *api.Job
	tasks   *units
	count   map[int]int // tasks of the job, by slot, if they are to be spread
	inGroup []int       // and by group
	barred  map[int]bool
}

func newSeat(p *pass, q *queue, e *entry, tasks *units) *seat {
	s := &seat{c: p.e.classOf(e, q), job: e.job, tasks: tasks}
	spread := s.c.placement == api.PlaceSpread && e.job.Spec.Kind == api.KindService
	if !spread && e.job.Spec.Spread == "" {
		return s
	}
	if spread {
		s.count = map[int]int{}
	}
	s.inGroup = make([]int, len(s.c.groups))
	for t := range p.view.MadeTasks(e.job.ID) {
		if i, ok := s.c.s.ids[t.NodeID]; ok && t.Holds() {
			s.note(i)
		}
	}
	return s
}

func (s *seat) note(i int) {
	if s.count != nil {
		s.count[i]++
	}
	if s.inGroup != nil {
		s.inGroup[s.c.where[i]]++
	}
}

func (s *seat) enter() {
	s.c.catchUp()
	for i := range s.count {
		s.move(i)
	}
	for i := range s.barred {
		s.move(i)
	}
}

// sync follows what others took since, while the job sits.
func (s *seat) sync() {
	if s.c.near != nil && s.c.near.follow() {
		s.c.build()
		s.enter()
		return
	}
	changes, known := s.c.s.since(s.c.epoch, s.c.pos)
	if !known {
		s.c.build()
		s.enter()
		return
	}
	for _, i := range changes {
		s.move(int(i))
	}
	s.c.pos = s.c.s.pos()
}

func (s *seat) leave() {
	for i := range s.c.moved {
		s.c.update(i)
	}
	clear(s.c.moved)
	s.barred = nil
}

// move puts a slot where the job's own tasks make it stand.
func (s *seat) move(i int) {
	if s.barred[i] {
		s.c.bar(i)
		s.c.moved[i] = true
		return
	}
	key := s.c.keyOf(i)
	if n := s.count[i]; n > 0 && s.c.placement != api.PlaceWeighted {
		key += float64(n) * perTask
		s.c.moved[i] = true
	}
	s.c.set(i, key)
}

// bar takes a slot out of the order until the job leaves, also of one that is
// made anew meanwhile: what a draw gives depends on who takes part.
func (s *seat) bar(i int) {
	if s.barred == nil {
		s.barred = map[int]bool{}
	}
	s.barred[i] = true
	s.move(i)
}

// taken notes that a task of the job went to a slot.
func (s *seat) taken(i int) {
	s.note(i)
	s.sync()
	if s.c.near != nil && s.c.near.Note(s.job.ID, s.c.s.node[i]) {
		s.c.build()
		s.enter()
	}
}

// best is the slot for a task, -1 if none can take it.
func (s *seat) best(u *unit) int {
	found, fewest := -1, 0
	var key float64
	for g := range s.c.groups {
		n := 0
		if s.inGroup != nil && s.job.Spec.Spread != "" {
			n = s.inGroup[g]
		}
		if found >= 0 && n > fewest {
			continue
		}
		i, k := s.c.groups[g].choose(s.job.ID, u)
		if i >= 0 && (found < 0 || n < fewest || k < key) {
			found, fewest, key = i, n, k
		}
	}
	return found
}

// choose is a group's best slot, or one drawn.
func (g *group) choose(job string, u *unit) (slot int, key float64) {
	if g.draw != nil {
		i := g.draw.draw(lot(job, u))
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
func lot(job string, u *unit) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(job + "." + strconv.Itoa(u.index) + "#" + strconv.Itoa(u.attempt))) // a hash never fails
	x := h.Sum64()
	x ^= x >> 33 // the low bits of this hash are the better ones
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}

// pick finds the slot for a task, passing by room that is held for others.
func (p *pass) pick(t *turn, u *unit) int {
	t.seat.sync()
	if t.q.part.Placement == api.PlacePack {
		if i := p.planned(t, u); i >= 0 {
			return i
		}
	}
	for barred := false; ; barred = true {
		i := t.seat.best(u)
		if i >= 0 && !p.mayUse(t, i, u.need) {
			t.seat.bar(i)
			continue
		}
		if i < 0 && !barred {
			t.seat.c.fullEpoch, t.seat.c.fullPos = p.e.slots.epoch, p.e.slots.pos()
		}
		if t.packed != nil {
			t.packed.loose = i
		}
		return i
	}
}

// pickPorts chooses numbers for the ports that may be any. It begins at a
// place that depends on the attempt, so that a port just given back is not the
// first to be used again.
func pickPorts(spec *api.JobSpec, job string, u *unit, free api.Ranges) (map[string]int, api.Ranges) {
	ports := make(map[string]int, len(spec.Ports))
	var taken api.Ranges
	for _, p := range spec.Ports {
		if p.Port != 0 {
			ports[p.Name] = p.Port
			taken = taken.Union(api.Ranges{{First: int64(p.Port), Last: int64(p.Port)}})
		}
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(api.TaskID(job, u.index))) // a hash never fails
	start := int64(h.Sum32()) + int64(u.attempt)*7919
	for _, p := range spec.Ports {
		if p.Port != 0 {
			continue
		}
		left := free.Minus(taken)
		n := nth(left, start%left.Count())
		ports[p.Name] = int(n)
		taken = taken.Union(api.Ranges{{First: n, Last: n}})
	}
	return ports, taken
}

// nth is the i-th number of r, counted from 0.
func nth(r api.Ranges, i int64) int64 {
	for _, x := range r {
		if n := x.Last - x.First + 1; i < n {
			return x.First + i
		} else {
			i -= n
		}
	}
	return 0
}
