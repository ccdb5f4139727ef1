package client

import (
	"net/http"
	"sync/atomic"
	"time"
)

// clockSlack is by how much two clocks may differ and be taken as one: answers are dated
// to the second.
const clockSlack = 2 * time.Second

// clock is how far the clock of the node that answered last is from this machine's.
type clock struct{ ahead atomic.Int64 } // nanoseconds

func (k *clock) hear(date string, at time.Time) {
	then, err := http.ParseTime(date)
	if err != nil {
		return
	}
	ahead := then.Sub(at)
	if ahead.Abs() < clockSlack {
		ahead = 0
	}
	k.ahead.Store(int64(ahead))
}

// Now is the time by the clock of the node that answered last: by it is reckoned how
// long ago is what the cluster dates, whatever the clock of this machine says.
func (c *Client) Now() time.Time { return time.Now().Add(time.Duration(c.clock.ahead.Load())) }
