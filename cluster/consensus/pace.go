package consensus

import "time"

const (
	// electionWrites is how many writes an election takes one after the other:
	// the term and the two halves of the vote, at the candidate and then at the
	// node that votes for it.
	electionWrites = 6

	maxFactor   = 10
	paceSamples = 32
	paceCalm    = time.Minute // of fast writes before elections get faster again
)

// pace decides how patient elections must be on a slow disk. An election
// writes the term and the votes: on a disk that takes about as long for that as
// the election may, none is ever won.
type pace struct {
	timeout time.Duration // of an election at factor 1
	factor  int           // 1 to maxFactor

	recent [paceSamples]time.Duration
	next   int
	calm   time.Time // since when the factor could be lower
}

func newPace(timeout time.Duration) pace { return pace{timeout: timeout, factor: 1} }

// observe takes in how long a write took, and tells whether the factor
// changed.
func (p *pace) observe(d time.Duration, now time.Time) bool {
	p.recent[p.next] = d
	p.next = (p.next + 1) % paceSamples
	want := min(1+int(electionWrites*p.slow()/p.timeout), maxFactor)
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

// slow is the second slowest of the recent writes: one that stands alone says
// nothing about the disk.
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
