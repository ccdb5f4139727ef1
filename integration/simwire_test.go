package integration

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// simWire is an in-memory transport that behaves as the one over the network
// where raft's own does not: heartbeats are answered beside all else, not
// behind slow writes; and when a node's daemon ends, what waits for its answer
// fails at once, as it does when a connection is closed.
type simWire struct {
	*raft.InmemTransport
	rpcs  chan raft.RPC
	beat  atomic.Pointer[func(raft.RPC)]
	ended chan struct{}
	over  <-chan struct{}
}

func newSimWire(inner *raft.InmemTransport, over <-chan struct{}) *simWire {
	return &simWire{InmemTransport: inner, rpcs: make(chan raft.RPC, 16), ended: make(chan struct{}), over: over}
}

// Consumer hands raft what others ask for, but for heartbeats.
func (w *simWire) Consumer() <-chan raft.RPC { return w.rpcs }

// SetHeartbeatHandler sets what answers heartbeats.
func (w *simWire) SetHeartbeatHandler(cb func(raft.RPC)) { w.beat.Store(&cb) }

// listen takes requests in until the daemon ends.
func (w *simWire) listen(ctx context.Context) error {
	defer func() {
		close(w.ended)
		go w.refuse()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case rpc := <-w.InmemTransport.Consumer():
			if cb := w.beat.Load(); cb != nil && isHeartbeat(rpc) {
				(*cb)(rpc)
				continue
			}
			select {
			case w.rpcs <- w.bounded(rpc):
			case <-ctx.Done():
				refuse(rpc)
				return nil
			}
		}
	}
}

func isHeartbeat(rpc raft.RPC) bool {
	a, ok := rpc.Command.(*raft.AppendEntriesRequest)
	return ok && a.Term != 0 && a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

// bounded is a request that is refused if the daemon ends before it answers.
func (w *simWire) bounded(rpc raft.RPC) raft.RPC {
	inner := rpc
	answer := make(chan raft.RPCResponse, 1)
	inner.RespChan = answer
	go func() {
		select {
		case r := <-answer:
			rpc.RespChan <- r
		case <-w.ended:
			refuse(rpc)
		}
	}()
	return inner
}

// refuse answers those that have not heard yet that the daemon has ended.
func (w *simWire) refuse() {
	for {
		select {
		case rpc := <-w.InmemTransport.Consumer():
			refuse(rpc)
		case <-w.over:
			return
		}
	}
}

var errRefused = errors.New("connection refused")

// refuse fails a request. Raft's pipeline looks at the answer all the same.
func refuse(rpc raft.RPC) {
	rpc.RespChan <- raft.RPCResponse{Response: &raft.AppendEntriesResponse{}, Error: errRefused}
}
