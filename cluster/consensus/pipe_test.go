package consensus

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// tightPipeline takes one request until its answer is taken, as the transport's
// does with a few.
type tightPipeline struct {
	inFlight, done chan raft.AppendFuture
	closed         chan struct{}
}

// refusal is the answer of a follower whose disk is dead.
type refusal struct {
	raft.AppendFuture
	req *raft.AppendEntriesRequest
}

func (r refusal) Request() *raft.AppendEntriesRequest { return r.req }
func (r refusal) Response() *raft.AppendEntriesResponse {
	return &raft.AppendEntriesResponse{Term: r.req.Term}
}

func (t *tightPipeline) run() {
	for {
		select {
		case f := <-t.inFlight:
			select {
			case t.done <- f:
			case <-t.closed:
				return
			}
		case <-t.closed:
			return
		}
	}
}

func (t *tightPipeline) AppendEntries(r *raft.AppendEntriesRequest, _ *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	f := refusal{req: r}
	select {
	case t.inFlight <- f:
		return f, nil
	case <-t.closed:
		return nil, raft.ErrPipelineShutdown
	}
}
func (t *tightPipeline) Consumer() <-chan raft.AppendFuture { return t.done }
func (t *tightPipeline) Close() error                       { close(t.closed); return nil }

// A follower refuses entries, as one does whose disk is dead. Raft listens no
// more then, while it is sending: it is not left in there for ever, or the
// follower would get nothing until another leads.
func TestRefusedEntriesEndThePipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &tightPipeline{inFlight: make(chan raft.AppendFuture), done: make(chan raft.AppendFuture), closed: make(chan struct{})}
		go inner.run()
		p := newPipe(inner, &wire{beats: newBeats(beatEvery, nil), pipes: map[raft.ServerID]*pipe{}, moved: make(chan struct{})}, "n1")
		go p.take()
		failed := make(chan error)
		go func() { // raft's sender
			for i := uint64(1); ; i++ {
				if _, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: 1, Entries: []*raft.Log{{Index: i, Term: 1}}}, nil); err != nil {
					failed <- err
					return
				}
			}
		}()
		if f := <-p.Consumer(); f.Response().Success { // raft's listener, which ends with this
			t.Fatal("the test's own follower agrees")
		}
		select {
		case <-failed:
		case <-time.After(time.Hour):
			t.Error("raft waits for ever to send to a follower that refused something")
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}
