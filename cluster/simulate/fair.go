package simulate

import (
	"math"
	"time"

	"github.com/mesita/mesita/api"
)

// part is a partition during the simulation, those below it not counted.
type part struct {
	*api.Partition
	children         []*part
	guarantee, limit float64 // shares of the cluster

	held, pending tally
	fair          float64 // what it is entitled to now
	demand        float64 // with those below it

	backlog  float64 // seconds in which its tasks waited
	gotTime  float64 // its share times those seconds
	fairTime float64 // what it was entitled to times those seconds

	jobs, tasks, ended, finished, stopped, preempted, nodeLost, freezes int
	slowdown                                                            float64
	lastEnd                                                             time.Duration
}

// entitle finds what each partition is entitled to now: its demand where there
// is enough, else its guarantee or its weighted part, down the tree.
func (r *recorder) entitle() {
	if !r.stale {
		return
	}
	r.stale = false
	for _, p := range r.root {
		r.measure(p)
	}
	r.divide(r.root, nil, 1)
}

func (r *recorder) measure(p *part) {
	own := r.dominant(p.held.cpus+p.pending.cpus, p.held.mem+p.pending.mem)
	p.demand = own
	for _, c := range p.children {
		r.measure(c)
		p.demand += c.demand
	}
	p.demand = min(p.demand, p.limit)
}

// claim is what one partition, or the work submitted to a parent itself, has
// to say when a share is divided.
type claim struct {
	part                      *part
	own                       bool
	weight, demand, guarantee float64
}

// divide gives the share of a parent to its children, and to its own work,
// which counts as a child of weight 1.
func (r *recorder) divide(children []*part, parent *part, share float64) {
	claims := make([]claim, 0, len(children)+1)
	for _, c := range children {
		claims = append(claims, claim{c, false, float64(c.Weight), c.demand, c.guarantee})
	}
	if parent != nil {
		own := r.dominant(parent.held.cpus+parent.pending.cpus, parent.held.mem+parent.pending.mem)
		claims = append(claims, claim{parent, true, float64(api.DefaultWeight), own, 0})
	}
	level := waterLevel(claims, share)
	for _, c := range claims {
		got := c.at(level)
		if c.own || len(c.part.children) == 0 {
			c.part.fair = got
			continue
		}
		r.divide(c.part.children, c.part, got)
	}
}

// at is what the claim gets at a level: the part of each unit of weight.
func (c *claim) at(level float64) float64 {
	return min(c.demand, max(c.guarantee, c.weight*level))
}

// waterLevel is the level at which the claims use the share up; infinite if
// there is enough for all.
func waterLevel(claims []claim, share float64) float64 {
	sum := func(level float64) (s float64) {
		for i := range claims {
			s += claims[i].at(level)
		}
		return s
	}
	if sum(math.Inf(1)) <= share {
		return math.Inf(1)
	}
	if share <= 0 {
		return 0
	}
	lo, hi := 0.0, share/float64(api.DefaultWeight)
	for sum(hi) < share {
		hi *= 2
	}
	for range 40 {
		if mid := (lo + hi) / 2; sum(mid) < share {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}
