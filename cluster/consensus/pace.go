package consensus

import "time"

const (
	// electionWrites is how many writes an election takes one after the other:
	// the term and the two halves of the vote, at the candidate and then at the
	// node that votes for it.
	electionWrites = 6

	maxFactor   = 10
	paceSamples = 32
	paceCalm    = time.Minute // of fast steps before elections get faster again
)

// pace decides how patient elections must be where something is slow that an
// election does several times over, such as a write of the term or a vote: if
// that takes about as long as the election may, none is ever won.
type pace struct {
	timeout time.Duration // of an election at factor 1
	steps   time.Duration // how many of them an election takes, one after the other
	factor  int           // 1 to maxFactor

	recent [paceSamples]time.Duration
	next   int
	calm   time.Time // since when the factor could be lower
}

func newPace(timeout time.Duration, steps int) pace {
	return pace{timeout: timeout, steps: time.Duration(steps), factor: 1}
}

// observe takes in how long a step took, and reports whether the factor
// changed.
func (p *pace) observe(d time.Duration, now time.Time) bool {
	p.recent[p.next] = d
	p.next = (p.next + 1) % paceSamples
	want := min(1+int(p.steps*p.slow()/p.timeout), maxFactor)
	switch {
	case want > p.factor:
		p.factor, p.calm = want, time.Time{}
		return true
	case want == p.factor:
		p.calm = time.Time{}
	case p.calm.IsZero():
		p.calm = now
	case now.Sub(p.calm) >= paceCalm:
		p.factor, p.calm = want, time.Time{}
		return true
	}
	return false
}

// slow is the second slowest of the recent steps: one that stands alone says
// nothing.
func (p *pace) slow() time.Duration {
	var first, second time.Duration
	for _, d := range p.recent {
		if d > first {
			first, second = d, first
		} else if d > second {
			second = d
		}
	}
	return second
}
