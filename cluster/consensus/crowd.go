package consensus

import (
	"math"
	"time"
)

const (
	// gatherMost is how long commands wait for company in a crowd: an entry
	// costs three disks two writes each, whatever is in it.
	gatherMost = 8 * time.Millisecond

	// crowded is how many callers make a crowd, and how many calls must be
	// about to come in that time for the wait to pay.
	crowded = 8

	// crowdMemory is how fast the rate of calls is forgotten.
	crowdMemory = 20 * time.Millisecond
)

// crowd watches the calls that come and go, to see whether more are about to
// come: callers that wait for an answer before they ask again come in waves,
// and each wave should fit one log entry.
type crowd struct {
	rate    float64 // of calls, per second
	came    int     // calls since counted
	counted time.Time

	open int // calls that have no outcome yet
	most int // as many had none at a time, lately
}

func (c *crowd) enter() {
	c.came++
	c.open++
}

// leave takes in that n calls have their outcome.
func (c *crowd) leave(n int) {
	if n > 0 {
		c.most = max(c.open, c.most-1)
		c.open -= n
	}
}

// count brings the rate up to date.
func (c *crowd) count(now time.Time) {
	span := now.Sub(c.counted).Seconds()
	if span <= 0 {
		return
	}
	weight := 1 - math.Exp(-span/crowdMemory.Seconds())
	c.rate += weight * (float64(c.came)/span - c.rate)
	c.came, c.counted = 0, now
}

// gathers reports whether it pays to wait: there are many callers, not all of
// them are here, and several are about to come.
func (c *crowd) gathers() bool {
	return c.most >= crowded && c.rate*gatherMost.Seconds() >= crowded && c.open < c.most
}
