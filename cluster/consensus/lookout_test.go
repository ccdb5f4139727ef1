package consensus

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// untilLeader is how long it takes from now until a node other than the given
// one leads.
func (c *memCluster) untilLeader(except int) time.Duration {
	c.t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; c.settle(time.Millisecond) {
		for i, n := range c.nodes {
			if i != except && n.IsLeader() {
				return time.Since(began)
			}
		}
	}
	c.t.Fatal("no other node leads after a minute")
	return 0
}

// elected is by when a silent leader is replaced, on disks that take no time:
// the timeout, the turns of the voters, and a pre-vote that is asked for again.
const elected = heartbeatTimeout + 4*stagger + preVoteAgain

func TestSilentLeaderIsReplacedAtTheTimeout(t *testing.T) {
	for _, voters := range []int{3, 5} {
		synctest.Test(t, func(t *testing.T) {
			c := newMemCluster(t, voters, nil)
			for i := range 20 {
				c.settle(2*time.Second + time.Duration(i)*17*time.Millisecond) // anywhere between two heartbeats
				l := c.leader()
				c.cut(l)
				if took := c.untilLeader(l); took > elected {
					t.Errorf("%d voters: a new leader after %v, want %v at most", voters, took, elected)
				}
				c.link(l)
			}
		})
	}
}

// One heartbeat that is lost costs no leader its lead.
func TestLeaderStaysThroughALostHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		l := c.leader()
		term := c.nodes[l].Stats().Term
		for range 20 {
			c.cut(l)
			c.settle(heartbeatTimeout - 2*beatEvery - 10*time.Millisecond)
			c.link(l)
			c.settle(2 * time.Second)
		}
		if now := c.leader(); now != l || c.nodes[l].Stats().Term != term {
			t.Errorf("n%d leads in term %d, want n%d in term %d", now, c.nodes[now].Stats().Term, l, term)
		}
	})
}

// starved is a transport over which one follower gets heartbeats and no
// entries.
type starved struct {
	*fastHearts
	id atomic.Pointer[raft.ServerID] // nil = nobody
}

var errStarved = errors.New("no entries for you")

func (s *starved) AppendEntries(id raft.ServerID, addr raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if p := s.id.Load(); p != nil && *p == id && !isHeartbeat(args) {
		return errStarved
	}
	return s.fastHearts.AppendEntries(id, addr, args, resp)
}

func (s *starved) AppendEntriesPipeline(id raft.ServerID, addr raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := s.fastHearts.AppendEntriesPipeline(id, addr)
	return starvedPipe{p, s, id}, err
}

type starvedPipe struct {
	raft.AppendPipeline
	of *starved
	id raft.ServerID
}

func (p starvedPipe) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if s := p.of.id.Load(); s != nil && *s == p.id {
		return nil, errStarved
	}
	return p.AppendPipeline.AppendEntries(args, resp)
}

// When only the follower that stands first has all of the log, it must not wait
// for another timeout because the other still hoped for the leader.
func TestOnlyLongLogWinsAtTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wires [3]*starved
		c := newMemCluster(t, 3, func(i int, cfg *Config) {
			wires[i] = &starved{fastHearts: cfg.Transport.(*fastHearts)}
			cfg.Transport = wires[i]
		})
		l := c.leader()
		followers := slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == l })
		last := raft.ServerID(c.nodes[followers[1]].id)
		wires[l].id.Store(&last)
		c.nodes[l].must(t, createJob("a"))
		c.settle(time.Second)
		if a, b := c.nodes[followers[0]].LastIndex(), c.nodes[followers[1]].LastIndex(); a <= b {
			t.Fatalf("logs end at %d and %d: the second follower was to lack an entry", a, b)
		}
		c.cut(l)
		if took := c.untilLeader(l); took > elected || !c.nodes[followers[0]].IsLeader() {
			t.Errorf("a new leader after %v, want %v at most", took, elected)
		}
	})
}

// All heartbeats leave at the same moments.
func TestHeartbeatsShareTheirMoments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ending := make(chan struct{})
		b := newBeats(beatEvery, ending)
		begin := time.Now()
		for i := range 10 {
			time.Sleep(time.Duration(i) * 13 * time.Millisecond) // fake
			if !b.await() || time.Since(begin)%beatEvery != 0 {
				t.Errorf("a beat %v after the start, which is not a multiple of %v", time.Since(begin), beatEvery)
			}
		}
		close(ending)
		if b.await() {
			t.Error("a beat after the end")
		}
	})
}

// What a leader of an earlier term still says keeps nobody from electing, and
// does not count as a message that came late.
func TestDeposedLeaderDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		l := c.leader()
		stale := &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}, Term: c.nodes[l].Stats().Term}
		c.cut(l)
		c.untilLeader(l)
		c.link(l)
		for range 10 {
			c.settle(2 * time.Second)
			l = c.leader()
			from, to := c.wires[(l+1)%3], c.wires[(l+2)%3]
			c.cut(l)
			c.settle(beatEvery)
			said := make(chan struct{})
			go func() {
				defer close(said)
				for range 4 {
					var resp raft.AppendEntriesResponse
					if err := from.AppendEntries("", to.LocalAddr(), stale, &resp); err != nil || resp.Success {
						t.Errorf("a heartbeat of an old term: %+v, %v", resp, err)
					}
					time.Sleep(heartbeatTimeout - 10*time.Millisecond) // fake
				}
			}()
			if took := c.untilLeader(l) + beatEvery; took > elected {
				t.Errorf("a new leader after %v, want %v at most", took, elected)
			}
			<-said
			c.link(l)
		}
		for i, n := range c.nodes {
			if p := n.Stats().Patience; p != 1 {
				t.Errorf("n%d has patience %d", i, p)
			}
		}
	})
}

// Who has just voted does not say that it would vote for another: two followers
// would stand against each other. Later it does, or nobody might be elected.
func TestAVoteIsNotPromisedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		l := c.leader()
		c.cut(l)
		c.untilLeader(l)
		term := c.nodes[c.leader(l)].Stats().Term
		promises := func(n *member, term uint64) bool {
			answer := make(chan raft.RPCResponse, 1)
			n.wire.candid(term, answer) <- raft.RPCResponse{Response: &raft.RequestPreVoteResponse{Term: term, Granted: true}}
			return (<-answer).Response.(*raft.RequestPreVoteResponse).Granted
		}
		for i, n := range c.nodes {
			if now, next := promises(n, term), promises(n, term+1); now != (i == l) || !next {
				t.Errorf("n%d, which voted in term %d unless it is n%d: promises its vote in it: %v, and in the next: %v", i, term, l, now, next)
			}
		}
		c.settle(heartbeatTimeout)
		for i, n := range c.nodes {
			if !promises(n, term) {
				t.Errorf("n%d does not promise its vote after the timeout", i)
			}
		}
	})
}

// Who leads no more, or not in that term, sends no heartbeat: it waited for its beat
// when the lead was lost, and would delay those who elect.
func TestADeposedLeaderSendsNoHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		l := c.leader()
		term, other := c.nodes[l].raft.CurrentTerm(), c.nodes[(l+2)%3]
		beat := func(from *member, term uint64) error {
			args := &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(from.id), Addr: []byte("a9")}, Term: term}
			return from.wire.AppendEntries(raft.ServerID(other.id), c.wires[(l+2)%3].LocalAddr(), args, new(raft.AppendEntriesResponse))
		}
		if err := beat(c.nodes[l], term); err != nil {
			t.Errorf("the leader: %v", err)
		}
		for from, term := range map[*member]uint64{c.nodes[(l+1)%3]: term, c.nodes[l]: term - 1} {
			if err := beat(from, term); !errors.Is(err, errDeposed) {
				t.Errorf("%s sends in term %d: %v", from.id, term, err)
			}
		}
	})
}

// A raft that heeds no nudge, as one that waits for its disk, gets no more of them
// than its queue holds: heartbeats would wait in there. One that does heed them is
// nudged once in each beat.
func TestABusyRaftIsNotNudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBeats(beatEvery, nil)
		nudges := 0
		beat := func(heeded bool) {
			time.Sleep(beatEvery)
			for range 3 {
				b.nudge(func() { nudges++ })
			}
			if heeded {
				b.over("n1")
				b.here("n1")
			}
		}
		for range 100 {
			beat(true)
		}
		if nudges != 100 {
			t.Errorf("%d nudges in 100 beats", nudges)
		}
		for range 100 {
			beat(false)
		}
		if got := nudges - 100; got != nudgesUnheeded {
			t.Errorf("%d nudges of a raft that heeds none, want %d", got, nudgesUnheeded)
		}
	})
}
