package cluster

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/gossip"
	"golang.org/x/sync/errgroup"
)

// changeSelf changes what node.json holds, here and on disk.
func (a *Agent) changeSelf(change func(*datadir.Node)) error {
	a.selfMu.Lock()
	defer a.selfMu.Unlock()
	next := *a.self
	change(&next)
	if err := a.dir.Save(&next); err != nil {
		return err
	}
	change(a.self) // only what is read under the lock, or before the node runs
	return nil
}

// votedBefore is how far this node had come in Raft; nil if it never took part.
// Nor did it if the cluster that it makes has no entry yet.
func (a *Agent) votedBefore() *consensus.Standing {
	if a.pending != nil {
		return nil
	}
	return a.self.Raft
}

// rememberStanding keeps outside of the raft folder how far this node has come.
func (a *Agent) rememberStanding(s consensus.Standing) error {
	a.selfMu.Lock()
	same := a.self.Raft != nil && *a.self.Raft == s
	a.selfMu.Unlock()
	if same {
		return nil
	}
	return a.changeSelf(func(n *datadir.Node) { n.Raft = &s })
}

// knownNodes bounds how many nodes this one remembers something about.
const knownNodes = 1 << 14

// askAgain lies between two rounds of questions to those that have not answered.
const askAgain = 100 * time.Millisecond

// sightings is how far this node saw the others come since it started, by what
// they said of themselves. A voter asks for it when it starts: its folder may be
// an older copy, and it may have voted for what it no longer knows.
type sightings struct {
	mu sync.Mutex
	of map[string]server.Sighting
}

// note takes in what the others say now.
func (s *sightings) note(members []gossip.Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[string]server.Sighting{}
	}
	for i := range members {
		m := &members[i].Meta
		was, known := s.of[m.ID]
		if !known && len(s.of) >= knownNodes {
			continue
		}
		s.of[m.ID] = mostOf(was, server.Sighting{Term: m.Term, LastTerm: m.LastTerm, LastIndex: m.LastIndex, Starts: m.Starts})
	}
}

func (s *sightings) get(id string) server.Sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[id]
}

func standingOf(s server.Sighting) consensus.Standing {
	return consensus.Standing{Term: s.Term, LastTerm: s.LastTerm, LastIndex: s.LastIndex}
}

func mostOf(a, b server.Sighting) server.Sighting {
	s := standingOf(a).And(standingOf(b))
	return server.Sighting{Term: s.Term, LastTerm: s.LastTerm, LastIndex: s.LastIndex, Starts: max(a.Starts, b.Starts)}
}

func (m members) Seen(id string) server.Sighting { return m.sightings.get(id) }

// countStart makes this start the next one that others can tell from those
// before, also with a clock that is behind.
func (a *Agent) countStart() error {
	if a.counted {
		return nil // with what its first start wrote
	}
	dropped := a.self.Starts == 0 && !a.fresh
	a.started = max(a.started, a.self.Started+1)
	return a.changeSelf(func(n *datadir.Node) {
		n.Starts, n.Started, n.Uncounted = n.Starts+1, a.started, n.Uncounted || dropped
	})
}

// firstSave writes what a node remembers of itself for the first time, and with it
// that it started: each write waits for the disk.
func (a *Agent) firstSave(n *datadir.Node) error {
	n.Starts, n.Started = n.Starts+1, a.started
	a.self, a.counted = n, true
	return a.dir.Save(n)
}

// tellStanding lets the others know how far this voter has come, if that
// changed.
func (a *Agent) tellStanding() {
	if !a.voting.Load() || a.raft.Damaged() != nil {
		return
	}
	s, err := a.raft.Standing()
	if was := a.stands.Load(); err != nil || was != nil && *was == s {
		return
	}
	a.stands.Store(&s)
	a.tell()
}

// askSightings asks the other nodes how far they saw this one come. It returns
// when all other voters have answered, and whoever else is known by then, or ctx
// ends.
func (a *Agent) askSightings(ctx context.Context) (consensus.Standing, error) {
	select {
	case <-ctx.Done():
		return consensus.Standing{}, nil
	case <-a.up:
	}
	asked := map[string]bool{a.self.NodeID: true}
	var most server.Sighting
	missing := true
	for missing {
		found := a.askRound(ctx, asked)
		for _, s := range found {
			most = mostOf(most, s)
		}
		missing = slices.ContainsFunc(a.raft.Voters(), func(id string) bool { return !asked[id] })
		if missing && !backoff.Pause(ctx, askAgain) {
			break
		}
	}
	return standingOf(most), a.judgeStarts(most.Starts, !missing && len(asked) > 1)
}

// judgeStarts fails if other nodes saw more starts than this folder had; all
// reports whether all that matter were asked.
func (a *Agent) judgeStarts(seen uint64, all bool) error {
	a.selfMu.Lock()
	starts, uncounted := a.self.Starts, a.self.Uncounted
	a.selfMu.Unlock()
	more := seen > starts
	if !more && !(uncounted && all) {
		return nil
	}
	err := a.changeSelf(func(n *datadir.Node) {
		if more {
			n.Starts = seen + 1
		}
		n.Uncounted = n.Uncounted && !all
	})
	if err != nil {
		a.log.Warn("counting the starts of this node failed", "err", err)
	}
	if !more || uncounted {
		return nil
	}
	return fmt.Errorf("the data folder %s is an older copy: it counts %s, and other nodes saw %d of this node", a.dir.Path, api.Count(starts, "start"), seen)
}

// askRound asks all that were not asked yet; asked takes in who answered.
func (a *Agent) askRound(ctx context.Context, asked map[string]bool) []server.Sighting {
	at := map[string]string{}
	if members, err := a.raft.Members(); err == nil {
		for _, m := range members {
			at[m.ID] = m.Addr
		}
	}
	for _, m := range a.gossip.Load().Members() {
		if m.State == gossip.Alive && len(at) < mostAsked {
			at[m.ID] = m.Addr
		}
	}
	maps.DeleteFunc(at, func(id, _ string) bool { return asked[id] })
	return askAll(at, asked, func(id, addr string) (s server.Sighting, err error) {
		one, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		err = a.peers.callAt(one, id, addr, http.MethodGet, seenPath, &s)
		return s, err
	})
}

// askAll asks those nodes, some at a time; asked takes in who answered.
func askAll(at map[string]string, asked map[string]bool, ask func(id, addr string) (server.Sighting, error)) []server.Sighting {
	var mu sync.Mutex
	var out []server.Sighting
	var group errgroup.Group
	group.SetLimit(16)
	for id, addr := range at {
		group.Go(func() error {
			s, err := ask(id, addr)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				out = append(out, s)
			}
			if answeredSeen(err) {
				asked[id] = true
			}
			return nil
		})
	}
	_ = group.Wait() // none fails
	return out
}

// answeredSeen reports whether a node that was asked what it saw needs no second
// question: it told, its program is older, or it does not talk with this one.
func answeredSeen(err error) bool {
	code := api.ErrorCode(err)
	return err == nil || code == api.CodeNotFound || code == api.CodeNotAllowed
}

// mostAsked bounds whom a voter asks at its start.
const mostAsked = 64
