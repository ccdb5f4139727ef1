package usage

import (
	"math"
	"time"
)

// Grown tells whose use of a disk is what made it short. It compares with what each had
// when space was still there: what somebody has had for long takes nothing from others
// now. The zero value knows nothing yet.
type Grown struct {
	base  map[string]Size
	late  bool // there was none left when it was measured
	free  int64
	taken time.Time // when base was

	had   int64     // was free when there was space
	hadAt time.Time // zero: not since this began
}

// Since is when there was space last.
func (g *Grown) Since() time.Time { return g.hadAt }

// Space is what a file system has free, and what is to stay so, in bytes.
type Space struct{ Free, Reserve int64 }

// Short reports whether there is so little that whoever continues filling it is to be
// found out: twice of what is to stay free.
func (s Space) Short() bool { return s.Free < 2*s.Reserve }

// Gone reports whether less is free than is to stay so.
func (s Space) Gone() bool { return s.Free < s.Reserve }

// rest is how much has to be free again before what was known is forgotten.
func (s Space) rest() int64 { return 2*s.Reserve + s.Reserve/4 }

// matters is how much somebody must have grown to be the one: others write a little
// all the time.
func (s Space) matters() int64 { return max(s.Reserve/64, 1<<20) }

// renew is how long it is known what each had, as long as space is only short.
const renew = 10 * time.Minute

// Wants reports whether it is time to measure what each has. Nobody is measured while
// there is space, nor again while nothing changes.
func (g *Grown) Wants(s Space, now time.Time) bool {
	switch age := now.Sub(g.taken); {
	case !s.Short():
		if s.Free >= s.rest() {
			*g = Grown{}
		}
		g.had, g.hadAt = s.Free, now
		return false
	case g.base == nil:
		return true
	case !s.Gone():
		return age >= renew || age < 0
	case g.late && s.Free < s.Reserve/2:
		return true
	default:
		return s.Free <= g.free-s.matters() || g.free >= s.Reserve
	}
}

// Take takes in what each has, and says who is to end, if anybody is, and by how much
// that one grew since there was space. Whoever was not there then has grown by all of
// it.
func (g *Grown) Take(s Space, now time.Time, has map[string]Size) (id string, by int64) {
	before := g.free
	g.free = s.Free
	if g.base == nil || !s.Gone() {
		g.base, g.taken, g.late = has, now, s.Gone()
		return "", 0
	}
	most := s.matters()
	for other, size := range has {
		grown := size.Bytes - g.base[other].Bytes
		if grown > most || grown == most && (id == "" || other < id) {
			id, most = other, grown
		}
	}
	if id != "" {
		return id, most
	}
	// Who hides what it has, by more than can be looked at, while the disk fills.
	if before != math.MaxInt64 && s.Free <= before-s.matters() {
		if id = largest(has, func(z Size) bool { return !z.Whole }); id != "" {
			return id, has[id].Fresh
		}
	}
	return g.tooFast(s, has)
}

// tooFast is who filled the disk before anybody was measured, if one alone wrote so much
// since there was space that it is most of what is gone, or there never was any, and has
// so much that its end is one to the want. It is asked once: the others are innocent.
func (g *Grown) tooFast(s Space, has map[string]Size) (id string, by int64) {
	if !g.late || s.Free >= s.Reserve/2 {
		return "", 0
	}
	g.late = false
	least := s.Reserve
	if !g.hadAt.IsZero() {
		least = max((g.had-s.Free)/2, s.matters())
	}
	if id = largest(has, func(z Size) bool { return z.Fresh >= least }); id == "" {
		return "", 0
	}
	return id, has[id].Fresh
}

// Again has whoever grew looked for again, as somebody ended and it may not be enough.
func (g *Grown) Again() { g.free = math.MaxInt64 }

func largest(has map[string]Size, of func(Size) bool) (id string) {
	for other, size := range has {
		if of(size) && (id == "" || size.Fresh > has[id].Fresh || size.Fresh == has[id].Fresh && other < id) {
			id = other
		}
	}
	return id
}
