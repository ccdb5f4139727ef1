package consensus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// badLink is a transport over which every message takes time, and is sent again
// when it is lost, as TCP does.
type badLink struct {
	*fastHearts
	bad  *atomic.Bool
	trip time.Duration // there and back
	only raft.ServerID // that alone is reached over it; "" = all are
	sent atomic.Int64  // heartbeats
	loss float64       // of packets, each way

	mu   sync.Mutex
	rand *rand.Rand
}

// cross is half a round trip.
func (b *badLink) cross() {
	b.mu.Lock()
	wait := b.trip / 2
	for again := 2 * b.trip; b.rand.Float64() < b.loss; again *= 2 {
		wait += again
	}
	b.mu.Unlock()
	time.Sleep(wait) // fake
}

func (b *badLink) send(id raft.ServerID, f func() error) error {
	if !b.bad.Load() || b.only != "" && b.only != id {
		return f()
	}
	b.cross()
	err := f()
	b.cross()
	return err
}

func (b *badLink) AppendEntries(id raft.ServerID, addr raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if isHeartbeat(args) {
		b.sent.Add(1)
	}
	return b.send(id, func() error { return b.fastHearts.AppendEntries(id, addr, args, resp) })
}

func (b *badLink) RequestVote(id raft.ServerID, addr raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return b.send(id, func() error { return b.fastHearts.RequestVote(id, addr, args, resp) })
}

func (b *badLink) RequestPreVote(id raft.ServerID, addr raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return b.send(id, func() error { return b.fastHearts.RequestPreVote(id, addr, args, resp) })
}

func (b *badLink) AppendEntriesPipeline(id raft.ServerID, addr raft.ServerAddress) (raft.AppendPipeline, error) {
	if b.bad.Load() {
		return nil, raft.ErrPipelineReplicationNotSupported
	}
	p, err := b.fastHearts.AppendEntriesPipeline(id, addr)
	return badPipe{p, b}, err
}

// badPipe breaks when the link gets bad.
type badPipe struct {
	raft.AppendPipeline
	link *badLink
}

func (p badPipe) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if p.link.bad.Load() {
		return nil, raft.ErrPipelineReplicationNotSupported
	}
	return p.AppendPipeline.AppendEntries(args, resp)
}

// write proposes at whoever leads until it is committed.
func (c *memCluster) write(name string) (took time.Duration) {
	for began := time.Now(); time.Since(began) < 5*time.Minute; c.settle(50 * time.Millisecond) {
		for _, n := range c.nodes {
			if !n.IsLeader() {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			_, err := n.Propose(ctx, cmds(name, 1))
			cancel()
			if err == nil {
				return time.Since(began)
			}
		}
	}
	c.t.Fatalf("%s was not written in five minutes", name)
	return 0
}

func TestBadLinksMakeElectionsPatient(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			var bad atomic.Bool
			c := newMemCluster(t, 3, func(i int, cfg *Config) {
				cfg.Transport = &badLink{fastHearts: cfg.Transport.(*fastHearts), bad: &bad, trip: 210 * time.Millisecond, loss: 0.2, rand: rand.New(rand.NewPCG(seed, uint64(i)))}
			})
			bad.Store(true)
			c.settle(30 * time.Second) // it finds out
			term := c.term()
			var took []time.Duration
			for i := range 60 {
				took = append(took, c.write(fmt.Sprint("far", i)))
				c.settle(2 * time.Second)
			}
			slices.Sort(took)
			if took[len(took)/2] > 3*time.Second || took[len(took)-1] > 30*time.Second {
				t.Errorf("seed %d: a write took %v, the slowest %v", seed, took[len(took)/2], took[len(took)-1])
			}
			if elections := c.term() - term; elections > 10 {
				t.Errorf("seed %d: %d elections in two minutes", seed, elections)
			}
			said := c.nodes[c.awaitLeader()].Links(func(id string) string { return "node-" + id })
			if !strings.Contains(said, "the link to node-n") || !strings.Contains(said, "ms and loses") {
				t.Errorf("seed %d: the leader says %q about its links", seed, said)
			}
			bad.Store(false)
			c.settle(paceCalm + time.Minute)
			for i, n := range c.nodes {
				if p := n.Stats().Patience; p != 1 {
					t.Errorf("seed %d: n%d has patience %d on a good link", seed, i, p)
				}
				if said := n.Links(func(id string) string { return id }); said != "" {
					t.Errorf("seed %d: n%d says %q", seed, i, said)
				}
			}
			l := c.leader()
			c.cut(l)
			if took := c.untilLeader(l); took > elected {
				t.Errorf("seed %d: a new leader after %v once the link was good", seed, took)
			}
		})
	}
}

// Over links between two towns each follower gets a heartbeat with every beat, as
// it does next door: none is late, and the leader wakes no more often.
func TestHeartbeatsOverALongWay(t *testing.T) {
	for _, trip := range []time.Duration{0, 30 * time.Millisecond, 90 * time.Millisecond, 130 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			var far atomic.Bool
			var links [3]*badLink
			c := newMemCluster(t, 3, func(i int, cfg *Config) {
				links[i] = &badLink{fastHearts: cfg.Transport.(*fastHearts), bad: &far, trip: trip, rand: rand.New(rand.NewPCG(1, uint64(i)))}
				cfg.Transport = links[i]
			})
			far.Store(true)
			c.settle(10 * time.Second)
			l := c.leader()
			before := links[l].sent.Load()
			const beats = 500
			c.settle(beats * beatEvery)
			if sent := links[l].sent.Load() - before; sent < 2*beats-2 || sent > 2*beats+2 {
				t.Errorf("round trips of %v: %d heartbeats to two followers in %d beats", trip, sent, beats)
			}
			for i, n := range c.nodes {
				if p, said := n.Stats().Patience, n.Links(func(id string) string { return id }); p != 1 || said != "" {
					t.Errorf("round trips of %v: n%d has patience %d and says %q", trip, i, p, said)
				}
			}
		})
	}
}

// A leader whose link to one voter is bad gives the lead up when the others fall
// silent as soon as on good links: those elect without it by then.
func TestLeaseOfOneBadLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var far atomic.Bool
		c := newMemCluster(t, 5, func(i int, cfg *Config) {
			cfg.Transport = &badLink{fastHearts: cfg.Transport.(*fastHearts), bad: &far, trip: 900 * time.Millisecond, only: "n4", rand: rand.New(rand.NewPCG(1, uint64(i)))}
		})
		far.Store(true)
		c.settle(30 * time.Second)
		old := c.nodes[0]
		if !old.IsLeader() || old.Stats().Patience < 5 {
			t.Fatalf("n0 was to lead with patience: %+v", old.Stats())
		}
		c.cut(0)
		began := time.Now()
		for !slices.ContainsFunc(c.nodes[1:], func(n *member) bool { return n.IsLeader() }) {
			if c.settle(5 * time.Millisecond); time.Since(began) > elected {
				t.Fatalf("nobody leads %v after the leader was cut off", elected)
			}
		}
		c.settle(10 * time.Millisecond) // raft looks after its lease that often
		if old.IsLeader() {
			t.Errorf("another leads, and n0 says that it does, too")
		}
	})
}

// The time in which an answer counts runs from when it was asked for.
func TestOldAnswerCountsFromItsQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBeats(beatEvery, nil)
		b.spawn = func(f func()) bool { go f(); return true }
		const allowed, trip = time.Second, 800 * time.Millisecond
		gone := errors.New("gone")
		ask := func(err error) (got raft.AppendEntriesResponse, _ error) {
			return got, b.patient("n1", 7, allowed, &got, func(r *raft.AppendEntriesResponse) error {
				if err == nil {
					time.Sleep(trip) // fake
					*r = raft.AppendEntriesResponse{Term: 7, Success: true}
				}
				return err
			})
		}
		if got, err := ask(nil); err != nil || !got.Success {
			t.Errorf("an answer: %+v, %v", got, err)
		}
		if got, err := ask(gone); err != nil || !got.Success {
			t.Errorf("none, %v after the last was asked for: %+v, %v", trip, got, err)
		}
		time.Sleep(allowed - trip) // fake
		if _, err := ask(gone); !errors.Is(err, gone) {
			t.Errorf("none, %v after the last was asked for: %v", allowed, err)
		}
	})
}

// What a node says of a link is near what it is.
func TestLinkIsDescribedAsItIs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	l := newLinks(beatEvery, heartbeatTimeout)
	for range linkSamples {
		took := 210 * time.Millisecond
		for range 2 {
			for again := 420 * time.Millisecond; r.Float64() < 0.15; again *= 2 {
				took += again
			}
		}
		l.answered("n1", took)
	}
	trip, lost := l.peers["n1"].sum()
	if trip != 210*time.Millisecond || lost < 0.08 || lost > 0.22 {
		t.Errorf("a link of 210ms that loses 15 %% is told as one of %v that loses %.0f %%", trip, 100*lost)
	}
}
