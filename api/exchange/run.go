package exchange

import (
	"context"
	"net/http"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
)

const (
	writeWait   = 5 * time.Second // for a leader, until a write is refused
	readWait    = 2 * time.Second // for a leader, until an old answer is given
	leaderCheck = 20 * time.Millisecond

	connectWithin = 700 * time.Millisecond
)

// headerNotLeader tells a relaying node that its idea of the leader is old.
const headerNotLeader = "X-Mesita-Not-Leader"

// run acts on a request, here or on the leader. While a leader is elected it
// waits, so that the caller sees one slow answer and no error.
func (c *Call) run() error {
	if !c.lasts() {
		return c.act()
	}
	if c.Route.Recorded() && c.R.Header.Get("Idempotency-Key") == "" {
		c.R.Header.Set("Idempotency-Key", newKey()) // under which both nodes record it, if another one does it
	}
	if c.Route.Stream {
		leave, err := c.EnterStream()
		if err != nil {
			return err
		}
		defer leave()
	}
	defer c.hold()()
	err := c.act()
	over := c.Over()
	if over != nil && c.Answered && c.Status == http.StatusOK {
		newStream(c).Fail(over)
	}
	if over == nil || err == nil {
		return err
	}
	if c.ID.Token != "" {
		c.ID = auth.Identity{} // as if the token had never been one
	}
	return over
}

func (c *Call) act() error {
	// Who came to lead since the caller showed a token that it could not check
	// checks it first, below.
	if c.Route.Local || c.Cluster.IsLeader() && !c.ID.Unverified {
		v, err := c.Route.Handle(c)
		if err == nil {
			return c.answer(v)
		}
		if c.Route.Local || c.Answered || c.Cluster.IsLeader() || !inDoubt(err) {
			return err
		}
		// Lost the lead meanwhile: the new leader tells what became of it.
		c.doubts(err)
		return c.runElsewhere(err)
	}
	return c.runElsewhere(nil)
}

func inDoubt(err error) bool {
	code := api.ErrorCode(err)
	return code == api.CodeUnknown || code == api.CodeUnavailable
}

// doubts notes that a write whose outcome is not known is sent again.
func (c *Call) doubts(err error) {
	c.doubt = c.doubt || c.R.Method != http.MethodGet && api.ErrorCode(err) == api.CodeUnknown
}

// worst is why a write was not answered: that nothing was done does not hold any
// more once an earlier try may have done it.
func (c *Call) worst(last, err error) error {
	if c.doubt && api.ErrorCode(last) == api.CodeUnknown {
		return last
	}
	return err
}

// refused is what the caller hears of a refusal.
func (c *Call) refused(err error) error {
	if c.doubt {
		return api.Doubtful(err)
	}
	return err
}

// runElsewhere relays to the leader until there is one that answers.
func (c *Call) runElsewhere(last error) error {
	if c.ID.Forwarded {
		answered, err := c.passedOn()
		if answered {
			return err
		}
		if c.doubts(err); api.ErrorCode(err) == api.CodeUnknown {
			last = err
		}
		c.W.Header().Set(headerNotLeader, "1")
		if c.doubt {
			return last
		}
		return api.Errorf(api.CodeUnavailable, "node %s does not lead the cluster", c.NodeName)
	}
	if err := c.keepRequest(); err != nil {
		return err
	}
	wait := c.Patience.Write
	if c.R.Method == http.MethodGet {
		wait = c.Patience.Read
	}
	ctx, cancel := context.WithTimeout(c.R.Context(), wait)
	defer cancel()
	tick := time.NewTicker(leaderCheck)
	defer tick.Stop()
	for {
		if c.Cluster.IsLeader() {
			if c.ID.Unverified { // this node leads now, and can tell
				if err := c.verify(); err != nil {
					return err
				}
				if c.lasts() {
					defer c.hold()()
				}
			}
			v, err := c.Route.Handle(c)
			if err == nil {
				return c.answer(v)
			}
			if c.Answered || !inDoubt(err) {
				return c.refused(err)
			}
			last = c.worst(last, err)
		} else if leader := c.Cluster.LeaderID(); leader != "" && leader != c.Cluster.NodeID() {
			answered, err := c.relayToLeader(ctx, leader)
			if answered {
				return err
			}
			last = c.worst(last, err)
		}
		c.doubts(last)
		select {
		case <-ctx.Done():
			return c.withoutLeader(last)
		case <-tick.C:
		}
	}
}

// verify checks on the leader what this node could not when it followed.
func (c *Call) verify() error {
	if err := c.identify(); err != nil {
		return err
	}
	return c.Route.check(c.ID)
}

// keepRequest makes a request safe to send twice.
func (c *Call) keepRequest() error {
	c.buf = nil // a transport may read the body after its answer
	if _, err := c.RequestKey(); err != nil {
		return err
	}
	if c.R.Method != http.MethodGet && c.R.Header.Get("Idempotency-Key") == "" {
		c.R.Header.Set("Idempotency-Key", newKey())
	}
	return nil
}

// withoutLeader answers reads from what this node knows, and refuses the rest.
func (c *Call) withoutLeader(last error) error {
	if c.R.Context().Err() != nil {
		return c.R.Context().Err()
	}
	if c.R.Method == http.MethodGet && !c.Cluster.HasReplica() {
		return c.ignorant()
	}
	if c.R.Method == http.MethodGet && !c.ID.Unverified {
		c.W.Header()[HeaderStale] = stale
		v, err := c.Route.Handle(c)
		if api.ErrorCode(err) == api.CodeConflict && !c.Answered {
			return c.unconfirmed()
		}
		if err != nil {
			return err
		}
		return c.answer(v)
	}
	if api.ErrorCode(last) == api.CodeUnknown {
		return last
	}
	return c.noLeader()
}

// ignorant is the answer of a node that has no state to answer from: an empty
// list would be taken for the truth.
func (c *Call) ignorant() *api.Error {
	if err := c.Cluster.Healthy(); err != nil { // the node's own trouble is why
		return api.Errorf(api.CodeUnavailable, "%v", err)
	}
	return api.Errorf(api.CodeUnavailable, "node %s reaches no leader and does not know the state of the cluster: it works without a copy of it, or has heard of no leader since it started; most voters must be up and reach each other; `mesita cluster show` on each says why it does not take part", c.NodeName)
}

// unconfirmed is the answer to a reader who is not where this node is: whoever saw
// more than this node has, such as the newest events of a leader that was lost,
// must not take what it has for another cluster's.
func (c *Call) unconfirmed() *api.Error {
	c.W.Header().Del(HeaderStale)
	return api.Errorf(api.CodeUnavailable, api.NoLeader+"; what node %s knows may be older than what you saw; `mesita cluster show` on each says why it does not take part", c.NodeName)
}

// noLeader is the answer to a write that nobody can decide.
func (c *Call) noLeader() *api.Error {
	if err := c.Cluster.Healthy(); err != nil {
		return api.Errorf(api.CodeUnavailable, "nothing was changed: %v", err)
	}
	return api.Errorf(api.CodeUnavailable, api.NoLeader+"; nothing was changed; `mesita cluster show` on each says why it does not take part")
}
