package consensus

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// pipeSilence is how long a pipeline may say nothing before an empty message
// shows whether its connection still stands. One is sent sooner when a
// heartbeat failed meanwhile.
const pipeSilence = 5 * time.Second

// pipe is a pipeline to a follower that keeps up.
//
// Raft sends an empty message at every commit timeout, and learns nothing from
// it; those that tell the follower nothing new are left out. Heartbeats go
// another way and are not touched.
//
// After an answer that is not a success raft listens no more, and may be sending
// meanwhile: as nobody takes the answers then, the transport takes no requests,
// and raft would wait in there for ever, with a follower that gets nothing. So
// the answers are taken here, and what is sent after such a one fails.
type pipe struct {
	raft.AppendPipeline
	wire *wire
	id   raft.ServerID

	answers chan raft.AppendFuture // for raft
	over    atomic.Bool            // raft listens no more
	closed  chan struct{}
	once    sync.Once // closes it

	mu   sync.Mutex
	last *raft.AppendEntriesRequest // that was sent, nil = none
	sent time.Time
}

// errRefused ends a pipeline whose follower refused something.
var errRefused = errors.New("the follower refused what was sent before")

func newPipe(inner raft.AppendPipeline, w *wire, id raft.ServerID) *pipe {
	return &pipe{AppendPipeline: inner, wire: w, id: id, answers: make(chan raft.AppendFuture), closed: make(chan struct{})}
}

// Consumer is where raft takes the answers.
func (p *pipe) Consumer() <-chan raft.AppendFuture { return p.answers }

// take hands the answers on for as long as raft listens, and takes them until
// the pipeline is closed.
func (p *pipe) take() {
	for {
		select {
		case <-p.closed:
			return
		case f := <-p.AppendPipeline.Consumer():
			if p.over.Load() {
				continue
			}
			select {
			case <-p.closed:
				return
			case p.answers <- f:
			}
			if !f.Response().Success || f.Response().Term > f.Request().Term {
				p.over.Store(true)
			}
		}
	}
}

// AppendEntries sends entries, or tells of a commit.
func (p *pipe) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if p.over.Load() {
		return nil, errRefused
	}
	if p.wire.mute() {
		return nil, errSilent
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.needless(args) {
		return nil, nil // raft takes the answers from the consumer only
	}
	return p.send(args, resp)
}

func (p *pipe) needless(args *raft.AppendEntriesRequest) bool {
	if p.last == nil || len(args.Entries) > 0 || args.LeaderCommitIndex > p.last.LeaderCommitIndex ||
		time.Since(p.sent) >= pipeSilence || p.wire.beats.failedSince(p.id, p.sent) {
		return false
	}
	index, _ := end(p.last)
	return args.PrevLogEntry == index
}

// send sends; p.mu is held.
func (p *pipe) send(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	f, err := p.AppendPipeline.AppendEntries(args, resp)
	if err == nil {
		p.last, p.sent = args, time.Now()
	}
	return f, err
}

// end is the index and term of the last entry that a follower has after a
// request.
func end(r *raft.AppendEntriesRequest) (index, term uint64) {
	if n := len(r.Entries); n > 0 {
		return r.Entries[n-1].Index, r.Entries[n-1].Term
	}
	return r.PrevLogEntry, r.PrevLogTerm
}

// announce tells the follower that entries up to index are committed, which
// this node knew in term; unless it was told, or is being sent something now.
//
// It keeps to what Raft allows. A pipeline of an older term, that is about to
// close, says nothing: its follower may hold entries there that another leader
// has replaced. Nor is more announced than was sent: beyond that the follower
// may have a stale rest, which it would take for committed.
func (p *pipe) announce(index, term uint64) {
	if p.over.Load() || !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	if p.last == nil || p.last.Term != term {
		return
	}
	next := *p.last
	next.PrevLogEntry, next.PrevLogTerm = end(p.last)
	next.Entries, next.LeaderCommitIndex = nil, min(index, next.PrevLogEntry)
	if next.LeaderCommitIndex <= p.last.LeaderCommitIndex {
		return
	}
	_, _ = p.send(&next, new(raft.AppendEntriesResponse)) // raft finds out by itself that the pipeline is broken
}

// Close closes the pipeline. It does not wait for a send, which it ends.
func (p *pipe) Close() error {
	err := p.AppendPipeline.Close()
	p.once.Do(func() { close(p.closed) })
	p.wire.closed(p)
	return err
}
