package exchange

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api"
)

// headerPassOn asks a node that does not lead to pass a relayed request on to
// the leader: the link between the sender and the leader is cut. It counts
// between nodes only, and does not travel on, so there is one such hop at most.
const headerPassOn = "X-Mesita-Pass-On"

// cutFor is how long the other way is taken first after the direct one failed.
const cutFor = 5 * time.Second

// cutLink is a leader that this node could not reach.
type cutLink struct {
	leader string
	until  time.Time
}

// errNoConnection is why a request was given up before any of it was sent.
var errNoConnection = errors.New("no connection in time")

// relayToLeader relays a request to the leader: directly, and through a third
// node where no connection to it can be made.
func (c *Call) relayToLeader(ctx context.Context, leader string) (answered bool, err error) {
	others := c.Cluster.PassOn(leader)
	if cut := c.cut.Load(); cut != nil && cut.leader == leader && time.Now().Before(cut.until) {
		if answered, err = c.relayThrough(ctx, leader, others); answered {
			return true, err
		}
	}
	way := way{to: leader, leader: leader}
	if len(others) > 0 {
		way.within = c.Patience.Connect
	}
	answered, err = c.relay(ctx, way, c.R.URL.Path)
	// Who refuses a connection is there, and its daemon is not.
	if answered || !errors.As(err, new(noLink)) {
		return answered, err
	}
	c.doubts(err)
	c.cut.Store(&cutLink{leader, time.Now().Add(cutFor)})
	if answered, again := c.relayThrough(ctx, leader, others); answered {
		return true, again
	}
	return false, err
}

func (c *Call) relayThrough(ctx context.Context, leader string, others []string) (answered bool, err error) {
	for _, id := range others {
		if answered, err = c.relay(ctx, way{to: id, leader: leader, passOn: true, within: c.Patience.Connect}, c.R.URL.Path); answered {
			return true, err
		}
		c.doubts(err)
	}
	return false, err
}

// passedOn answers a relayed request that is to be passed on; false if nothing
// was answered, with the reason if it was sent.
func (c *Call) passedOn() (answered bool, err error) {
	leader := c.Cluster.LeaderID()
	if c.R.Header.Get(headerPassOn) == "" || leader == "" || leader == c.Cluster.NodeID() {
		return false, nil
	}
	if err := c.keepRequest(); err != nil {
		return true, err
	}
	ctx, cancel := context.WithTimeout(c.R.Context(), c.Patience.Write)
	defer cancel()
	return c.relay(ctx, way{to: leader, leader: leader, within: c.Patience.Connect}, c.R.URL.Path)
}

// way is how a request gets to the node that is to answer it.
type way struct {
	to     string        // the node that it is sent to
	leader string        // given up when that one leads no more; "" = not a matter of the lead
	passOn bool          // to is not the leader, and is asked to pass it on
	within time.Duration // for the connection; 0 = as long as the transport tries
	search bool          // another node is asked if this one does not have it
}

// connection is what is known of the connection of a request.
type connection struct {
	made  atomic.Bool
	timer *time.Timer // nil = it may take as long as the transport tries
}

func (n *connection) stop() {
	if n.timer != nil {
		n.timer.Stop()
	}
}

// connecting gives a request up that has no connection in time, and each time
// that the transport looks for another.
func (w way) connecting(req *http.Request, cancel context.CancelCauseFunc) (*http.Request, *connection) {
	n := new(connection)
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { n.made.Store(true); n.stop() }}
	if w.within > 0 {
		n.timer = time.AfterFunc(w.within, func() { cancel(errNoConnection) })
		trace.GetConn = func(string) { n.timer.Reset(w.within) }
	}
	return req.WithContext(httptrace.WithClientTrace(req.Context(), trace)), n
}

// noLink is an error of a node that no packet gets to, as far as this one can
// tell. Its code reports whether something may have got there before.
type noLink struct{ err *api.Error }

func (e noLink) Error() string { return e.err.Error() }
func (e noLink) Unwrap() error { return e.err }
