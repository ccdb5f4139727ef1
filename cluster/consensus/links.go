package consensus

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// electionTrips is how many round trips an election takes one after the
	// other, with one to spare: whether it could be won, and the votes.
	electionTrips = 3

	linkSamples = 64 // some 12 s of heartbeats
)

// links measures how long messages between this node and the other voters
// take. Over a link that takes as long for a round trip as an election may, or
// that loses packets, none is ever won, and no lead lasts: elections and the
// lease wait longer then. The leader sees it by its heartbeats' answers, a
// follower by how late they come, a candidate by the answers about votes, so
// that all come to much the same.
type links struct {
	every   time.Duration // between two heartbeats
	timeout time.Duration // of an election at factor 1
	changed chan struct{} // cap 1: how patient elections should be

	mu    sync.Mutex
	pace  pace
	peers map[raft.ServerID]*link
	term  uint64    // of the newest heartbeat of a leader
	heard time.Time // when it came
}

// link is what the last messages to one voter took.
type link struct {
	took [linkSamples]time.Duration
	n    int // messages so far
	pace pace
}

func newLinks(every, timeout time.Duration) *links {
	return &links{every: every, timeout: timeout, changed: make(chan struct{}, 1), pace: newPace(timeout, electionTrips), peers: map[raft.ServerID]*link{}}
}

// answered takes in how long a voter took to answer. That it did not says
// nothing about the link.
func (l *links) answered(id raft.ServerID, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.peers[id]
	if p == nil {
		p = &link{pace: newPace(l.timeout, electionTrips)}
		l.peers[id] = p
	}
	p.took[p.n%linkSamples] = took
	p.n++
	p.pace.observe(took, time.Now())
	l.observe(took)
}

// beat takes in a heartbeat of the leader of a term.
func (l *links) beat(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if term == l.term {
		l.observe(max(0, now.Sub(l.heard)-l.every))
	}
	l.term, l.heard = term, now
}

// observe takes in a delay; l.mu is held.
func (l *links) observe(d time.Duration) {
	if l.pace.observe(d, time.Now()) {
		select {
		case l.changed <- struct{}{}:
		default:
		}
	}
}

// patience is by how much elections should be slower because of the links, and
// the slow message that says so.
func (l *links) patience() (factor int, slow time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pace.factor, l.pace.slow()
}

// allowance is how much longer than the timeout a leader may be without an
// answer of a voter. Only the link to that one counts: over a good link it stands
// for election no later because another is bad.
func (l *links) allowance(id raft.ServerID) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.peers[id]
	if p == nil {
		return 0
	}
	return l.timeout * time.Duration(p.pace.factor-1)
}

// forget drops what is known of voters that are none any more.
func (l *links) forget(stays func(raft.ServerID) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.peers, func(id raft.ServerID, _ *link) bool { return !stays(id) })
}

// describe says what is wrong with the links, "" when nothing is. name is the
// name of a node.
func (l *links) describe(name func(id string) string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pace.factor == 1 {
		return ""
	}
	var out []string
	for _, id := range slices.Sorted(maps.Keys(l.peers)) {
		trip, lost := l.peers[id].sum()
		if lost > 0.02 || electionTrips*trip > l.timeout {
			out = append(out, fmt.Sprintf("the link to %s takes %d ms and loses %.0f %%", name(string(id)), trip.Milliseconds(), 100*lost))
		}
	}
	if out == nil {
		out = []string{fmt.Sprintf("the leader's messages come up to %d ms late", l.pace.slow().Milliseconds())}
	}
	return fmt.Sprintf("%s: a new leader takes up to %d times as long", strings.Join(out, ", "), l.pace.factor)
}

// sum is the usual round trip, and about how many packets are lost of those
// that go one way: a message that waits for one to be sent again takes much
// longer than the usual.
func (p *link) sum() (trip time.Duration, lost float64) {
	took := slices.Sorted(slices.Values(p.took[:min(p.n, linkSamples)]))
	if len(took) == 0 {
		return 0, 0
	}
	trip = took[len(took)/3] // of those that lost nothing, also where half of them lose something
	late := 0
	for _, d := range took {
		if d > 2*trip+100*time.Millisecond {
			late++
		}
	}
	return trip, 1 - math.Sqrt(1-float64(late)/float64(len(took)))
}
