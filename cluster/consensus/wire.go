package consensus

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	rpcTimeout = 5 * time.Second
	maxPool    = 3 // idle connections to each node

	// announceAfter is how long the leader waits for an entry that would tell
	// the followers of a commit anyway.
	announceAfter = time.Millisecond
)

// wire is the transport as raft sees it. It listens in: to what the leader has
// committed, and to which followers keep up; and it tells followers of a
// commit as soon as it is known.
type wire struct {
	raft.Transport
	raft    atomic.Pointer[raft.Raft] // nil until it is open
	rpcs    chan raft.RPC
	commit  chan uint64 // cap 1: the newest that was applied here
	beats   *beats
	away    *away
	lookout *lookout
	links   *links
	ending  <-chan struct{}
	damaged func() error         // why this node must not be elected; nil = it may
	refuse  func(raft.RPC) error // why a request must not come to raft; nil = it may
	hangs   func() bool          // the disk of the log does, so that another should lead; nil = it never does
	spent   func() *spent        // the last vote of this node in this life; nil = none

	retired atomic.Bool   // this node is not a voter any more, though it has not read that
	retire  chan struct{} // cap 1: it was just told

	mu    sync.Mutex
	heard heard
	pipes map[raft.ServerID]*pipe
	moved chan struct{} // closed when pipes changed
}

var (
	_ raft.WithPreVote = (*wire)(nil)
	_ raft.WithClose   = (*wire)(nil)
)

// heard is the newest commit that a leader told of.
type heard struct{ term, commit uint64 }

func newWire(t raft.Transport, every time.Duration, l *lookout, ending <-chan struct{}) *wire {
	return &wire{Transport: t, rpcs: make(chan raft.RPC), commit: make(chan uint64, 1), retire: make(chan struct{}, 1), beats: newBeats(every, ending), away: newAway(ending), lookout: l, links: newLinks(every, time.Duration(l.wait.Load())), ending: ending,
		pipes: map[raft.ServerID]*pipe{}, moved: make(chan struct{})}
}

// newTransport makes the transport over a stream layer.
func newTransport(cfg *Config) raft.Transport {
	nc := &raft.NetworkTransportConfig{Stream: newStreams(cfg.Stream), MaxPool: maxPool, Timeout: rpcTimeout, Logger: newLogBridge(cfg.Log)}
	return &named{raft.NewNetworkTransportWithConfig(nc), cfg.AddrOf}
}

var (
	errNoPreVote = errors.New("the transport has no pre-vote")
	errDeposed   = errors.New("this node does not lead any more")
	errSilent    = errors.New("the disk of this node hangs, so that it does not say that it leads")
)

// Consumer hands raft what others ask for.
func (w *wire) Consumer() <-chan raft.RPC { return w.rpcs }

// listen passes on requests that are not refused, and notes what the leader
// committed. It returns at the end of the node.
func (w *wire) listen() {
	from := w.Transport.Consumer()
	for {
		select {
		case rpc := <-from:
			if err := w.refuse(rpc); err != nil {
				if rpc.Reader != nil {
					_, _ = io.Copy(io.Discard, rpc.Reader) // the connection continues after it
				}
				rpc.Respond(nil, err)
				continue
			}
			w.overhear(rpc)
			if r, ok := rpc.Command.(*raft.RequestVoteRequest); ok {
				rpc.Command = byNode(r, w.leader())
			}
			if r, ok := rpc.Command.(*raft.RequestPreVoteRequest); ok {
				rpc.RespChan = w.candid(r.Term, rpc.RespChan)
			}
			select {
			case w.rpcs <- rpc:
			case <-w.ending:
				return
			}
		case <-w.ending:
			return
		}
	}
}

// overhear looks at what a leader says to this node.
func (w *wire) overhear(rpc raft.RPC) {
	switch a := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		if w.deposed(a.Term) {
			return
		}
		w.follow()
		if a.LeaderCommitIndex > 0 {
			w.mu.Lock()
			w.heard = heard{a.Term, a.LeaderCommitIndex}
			w.mu.Unlock()
		}
	case *raft.InstallSnapshotRequest:
		if !w.deposed(a.Term) {
			w.follow()
		}
	}
}

// follow notes that a leader speaks to this node.
func (w *wire) follow() {
	w.lookout.heard()
	if w.retired.Load() {
		w.retired.Store(false)
	}
}

// deposed reports whether the leader of a term is none any more, as this node
// knows. What it still says is not taken for a word of a leader, nor for how
// long those take.
func (w *wire) deposed(term uint64) bool {
	r := w.raft.Load()
	return r != nil && r.CurrentTerm() > term
}

// SetHeartbeatHandler lets raft answer heartbeats beside all else.
func (w *wire) SetHeartbeatHandler(answer func(raft.RPC)) {
	if answer == nil {
		w.Transport.SetHeartbeatHandler(nil)
		return
	}
	w.Transport.SetHeartbeatHandler(func(rpc raft.RPC) {
		if err := w.refuse(rpc); err != nil {
			rpc.Respond(nil, err)
			return
		}
		answer(rpc)
		if a, ok := rpc.Command.(*raft.AppendEntriesRequest); ok && !w.deposed(a.Term) {
			w.follow()
			w.links.beat(a.Term)
		}
	})
}

// AppendEntries sends entries, or a heartbeat with the next beat.
func (w *wire) AppendEntries(id raft.ServerID, addr raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if !isHeartbeat(args) {
		if w.mute() {
			return errSilent
		}
		if err := w.away.await(id, func() bool { return w.member(id) }); err != nil {
			return err
		}
		err := w.Transport.AppendEntries(id, addr, args, resp)
		w.away.tried(id, err)
		return err
	}
	w.beats.here(id)
	if !w.beats.await() {
		return errEnding
	}
	if w.mute() {
		return errSilent
	}
	if r := w.raft.Load(); r != nil {
		if r.State() != raft.Leader || r.CurrentTerm() != args.Term {
			return errDeposed // a heartbeat of its old term would delay those who elect
		}
		// To be asked whether it leads has raft send heartbeats at once. Its
		// verdict is not waited for: with answers that are vouched for it says
		// nothing.
		w.beats.nudge(func() { r.VerifyLeader() })
	}
	err := w.beats.patient(id, args.Term, w.links.allowance(id), resp, func(resp *raft.AppendEntriesResponse) error {
		began := time.Now()
		err := w.Transport.AppendEntries(id, addr, args, resp)
		w.beats.note(id, err)
		if err == nil {
			w.links.answered(id, time.Since(began))
			w.away.tried(id, nil)
		}
		return err
	})
	if err == nil {
		w.beats.over(id)
	}
	return err
}

// InstallSnapshot sends a snapshot.
func (w *wire) InstallSnapshot(id raft.ServerID, addr raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if err := w.away.await(id, func() bool { return w.member(id) }); err != nil {
		return err
	}
	err := w.Transport.InstallSnapshot(id, addr, args, resp, data)
	w.away.tried(id, err)
	return err
}

// member reports whether a node takes part, while this one leads.
func (w *wire) member(id raft.ServerID) bool {
	r := w.raft.Load()
	return r != nil && r.State() == raft.Leader &&
		slices.ContainsFunc(r.GetConfiguration().Configuration().Servers, func(s raft.Server) bool { return s.ID == id })
}

// mute reports whether this node must not say that it leads.
func (w *wire) mute() bool { return w.hangs != nil && w.hangs() }

// leader is the node that leads as far as this one knows, "" if none does.
func (w *wire) leader() raft.ServerID {
	r := w.raft.Load()
	if r == nil {
		return ""
	}
	_, id := r.LeaderWithID()
	return id
}

// leaderCommit is the newest commit that a leader told this node of.
func (w *wire) leaderCommit() heard {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heard
}

// RequestVote asks for a vote.
func (w *wire) RequestVote(id raft.ServerID, addr raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if err := w.damaged(); err != nil {
		return err
	}
	return w.Transport.RequestVote(id, addr, args, resp)
}

// Close closes the transport below; raft calls it at its end.
func (w *wire) Close() error {
	if c, ok := w.Transport.(raft.WithClose); ok {
		return c.Close()
	}
	return nil
}

// AppendEntriesPipeline opens a pipeline. Raft does that with a follower that
// has all of the log but what came in this moment.
func (w *wire) AppendEntriesPipeline(id raft.ServerID, addr raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := w.Transport.AppendEntriesPipeline(id, addr)
	if err != nil {
		return nil, err
	}
	p := newPipe(inner, w, id)
	if !w.beats.spawn(p.take) {
		return nil, errors.Join(errEnding, inner.Close())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pipes[id] = p
	w.changed()
	return p, nil
}

// changed wakes who waits for a follower; w.mu is held.
func (w *wire) changed() {
	close(w.moved)
	w.moved = make(chan struct{})
}

func (w *wire) closed(p *pipe) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pipes[p.id] == p {
		delete(w.pipes, p.id)
		w.changed()
	}
}

// awaitFollower blocks until the follower keeps up with the log.
func (w *wire) awaitFollower(ctx context.Context, id raft.ServerID) error {
	for {
		w.mu.Lock()
		_, ok := w.pipes[id]
		moved := w.moved
		w.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-moved:
		}
	}
}

// committed notes that entries up to index took effect on this node.
func (w *wire) committed(index uint64) {
	w.mu.Lock()
	followers := len(w.pipes) > 0
	w.mu.Unlock()
	if !followers {
		return
	}
	select { // only the newest matters
	case <-w.commit:
	default:
	}
	select {
	case w.commit <- index:
	default:
	}
}

// announce tells followers of commits, until the node ends. Raft alone would
// tell them with the next entry, or when its commit timeout is over. term is
// the node's current term.
func (w *wire) announce(term func() uint64) {
	timer := time.NewTimer(0)
	<-timer.C
	for {
		select {
		case <-w.ending:
			return
		case index := <-w.commit:
			timer.Reset(announceAfter)
			select {
			case <-w.ending:
				return
			case <-timer.C:
			}
			now := term() // read after index was applied: what was known in it
			for _, p := range w.followers() {
				p.announce(index, now)
			}
		}
	}
}

func (w *wire) followers() []*pipe {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]*pipe, 0, len(w.pipes))
	for _, p := range w.pipes {
		out = append(out, p)
	}
	return out
}
