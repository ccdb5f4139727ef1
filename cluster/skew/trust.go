package skew

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// handOverFrom is from when on a leader whose clock is off gives the lead to
	// another: far above what two measurements differ by, so that no two nodes
	// hand it to each other.
	handOverFrom   = time.Minute
	handOverWithin = 5 * time.Second
)

// Trust is what a leader knows of the time it goes by: whether most voters
// have it, too. What is removed since it is old cannot be made again, so a
// leader that has not compared its clock, or whose clock is off, removes nothing
// for that reason. Its methods may be called from any goroutine.
type Trust struct {
	now func() time.Time

	mu      sync.Mutex
	trusted bool
	at      time.Time // what now was when that was found
	since   time.Time // with the reading of the monotonic clock then
}

// NewTrust is for a leader that goes by now, and has not compared it yet.
func NewTrust(now func() time.Time) *Trust { return &Trust{now: now} }

func (c *Trust) set(trusted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trusted, c.at, c.since = trusted, c.now().Round(0), time.Now()
}

// Holds reports whether the clock was that of most voters, and has not jumped
// since.
func (c *Trust) Holds() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trusted && (c.now().Round(0).Sub(c.at)-time.Since(c.since)).Abs() <= skewTold
}

// judge records whether the time that this leader goes by is that of most
// voters. If its clock is far off what most have, it gives the lead to one of
// them.
func (s *Loop) judge(ctx context.Context, ahead map[string]time.Duration) bool {
	trusted, successor := s.verdict(ahead)
	s.Trust.set(trusted)
	if successor != "" {
		s.giveUpLead(ctx, successor)
	}
	return trusted
}

// verdict reports whether most voters have this leader's time, itself included,
// and who is to lead instead, if anyone.
func (s *Loop) verdict(ahead map[string]time.Duration) (trusted bool, successor string) {
	voters := s.Voters()
	of := map[string]time.Duration{s.Self: 0}
	for _, id := range voters {
		if d, ok := ahead[id]; ok {
			of[id] = d
		}
	}
	own := s.Now().Sub(s.Wall()) // it goes by this, which may not follow a jump yet
	near := func(to time.Duration) (ids []string) {
		for _, id := range voters {
			if d, ok := of[id]; ok && (d-to).Abs() <= skewTold {
				ids = append(ids, id)
			}
		}
		return ids
	}
	agree := slices.DeleteFunc(near(own), func(id string) bool { return id == s.Self })
	if len(agree)+1 > len(voters)/2 {
		return true, ""
	}
	most := usual(of)
	right := near(most)
	if most.Abs() < handOverFrom || (most-own).Abs() < handOverFrom || len(right) <= len(voters)/2 {
		return false, ""
	}
	return false, right[0]
}

// giveUpLead hands the lead to a voter whose clock is right.
func (s *Loop) giveUpLead(ctx context.Context, id string) {
	s.Log.Warn("this leader's clock is not that of most voters: another is to lead", "to", s.nameOf(id))
	hctx, cancel := context.WithTimeout(ctx, handOverWithin)
	defer cancel()
	if err := s.HandOver(hctx, id); err != nil && ctx.Err() == nil {
		s.Log.Warn("handing the lead over failed; it is tried again", "err", err)
	}
}

func (s *Loop) nameOf(id string) string {
	if n := s.Store.View().Node(id); n != nil {
		return n.Name
	}
	return id
}
