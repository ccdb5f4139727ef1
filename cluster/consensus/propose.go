package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

const (
	// entriesInFlight bounds the log entries without an outcome. More would
	// only make them smaller.
	entriesInFlight = 4

	// gatherFor is how long commands wait for company, while an earlier entry
	// is on its way. With none on its way they only wait in a crowd.
	gatherFor = time.Millisecond

	// enqueueFor is how long raft may take to accept an entry.
	enqueueFor = 10 * time.Second
)

// ErrNotLeader says that this node does not lead: nothing was written, ask the
// leader.
var ErrNotLeader error = &api.Error{Code: api.CodeUnavailable, Message: "this node does not lead the cluster: ask the leader"}

var errEnding error = &api.Error{Code: api.CodeUnavailable, Message: "this node is ending: ask another one"}

var _ fsm.Proposer = (*Node)(nil)

// Propose gets commands into the log and returns what became of each, in order,
// once they took effect on this node.
//
// It fails with ErrNotLeader when another node leads, and with codes: busy
// when too many commands wait; unavailable when nothing was written;
// outcome_unknown when the commands, or some of them, may still take effect,
// which includes a ctx that ended.
func (n *Node) Propose(ctx context.Context, cmds []fsm.Command) ([]fsm.Result, error) {
	if len(cmds) == 0 {
		return nil, nil
	}
	if !n.IsLeader() || n.guard.hangs.Load() {
		return nil, ErrNotLeader
	}
	c := &call{encoded: make([][]byte, len(cmds)), results: make([]fsm.Result, len(cmds)), left: len(cmds), done: make(chan struct{})}
	v := n.cfg.Store.View()
	for i, cmd := range cmds {
		if err := v.Allows(cmd); err != nil {
			return nil, err
		}
		e, err := fsm.EncodeOne(cmd)
		if err != nil {
			return nil, api.Errorf(api.CodeInvalid, "%v", err)
		}
		c.encoded[i] = e
	}
	if err := n.submit(c); err != nil {
		return nil, err
	}
	if err := n.outcomeOf(ctx, c); err != nil {
		return nil, err
	}
	if c.err != nil {
		return nil, c.failure()
	}
	return c.results, nil
}

// outcomeOf waits for the end of a call, for as long as there may be one soon.
func (n *Node) outcomeOf(ctx context.Context, c *call) error {
	for unwell := n.guard.unwell(); ; unwell = nil {
		select {
		case <-c.done:
			return nil
		case <-ctx.Done():
			return n.abandon(c, context.Cause(ctx))
		case <-unwell: // of a write that failed raft tells at once
			if n.guard.hangs.Load() {
				return n.abandon(c, errHangs)
			}
		}
	}
}

// abandon gives a call up; nil if it ended just now.
func (n *Node) abandon(c *call, why error) error {
	if n.queue.withdraw(c) {
		return fmt.Errorf("%w (%w)", api.Errorf(api.CodeUnavailable, "the change was given up before it was written"), why)
	}
	select {
	case <-c.done:
		return nil
	default:
		return fmt.Errorf("%w (%w)", api.Errorf(api.CodeUnknown, "the change may still take effect"), why)
	}
}

// failure is the error of a call that has ended.
func (c *call) failure() error {
	if c.applied && api.ErrorCode(c.err) != api.CodeUnknown {
		return fmt.Errorf("%w (%w)", api.Errorf(api.CodeUnknown, "only some of the changes took effect"), c.err)
	}
	return c.err
}

// proposeError tells what a failed entry means for its commands.
func proposeError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return ErrNotLeader
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return api.Errorf(api.CodeUnavailable, "the log took no change for %v: the disk of this node is too slow", enqueueFor)
	case errors.Is(err, raft.ErrLeadershipLost):
		return fmt.Errorf("%w (%w)", api.Errorf(api.CodeUnknown, "the lead was lost while the change was on its way"), err)
	}
	return api.Errorf(api.CodeUnknown, "the change may or may not take effect: %v", err)
}

// submit writes the commands of a call, or queues them. With no entry on its
// way the caller writes, which spares a switch to another goroutine.
func (n *Node) submit(c *call) error {
	select {
	case n.slots <- struct{}{}:
	default:
		return n.queue.push(c)
	}
	if _, gathers := n.queue.state(); gathers || len(n.slots) > 1 {
		n.release()
		return n.queue.push(c)
	}
	if err := n.queue.push(c); err != nil {
		n.release()
		return err
	}
	n.write()
	return nil
}

// coalesce writes what waits into the log, until ctx ends.
func (n *Node) coalesce(ctx context.Context) {
	timer := time.NewTimer(0)
	<-timer.C
	for {
		if n.queue.empty() {
			select {
			case <-ctx.Done():
				return
			case <-n.queue.filled:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case n.slots <- struct{}{}:
		}
		n.gather(ctx, timer)
		n.write()
	}
}

// gather waits for more commands: a little while other entries are on their
// way, and longer in a crowd.
func (n *Node) gather(ctx context.Context, timer *time.Timer) {
	begin := time.Now()
	defer timer.Stop()
	for {
		full, gathers := n.queue.state()
		patience := gatherFor
		switch {
		case full, !gathers && len(n.slots) == 1:
			return
		case gathers:
			patience = gatherMost
		}
		left := patience - time.Since(begin)
		if left <= 0 {
			return
		}
		timer.Reset(left)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-n.landed:
		case <-n.queue.filled:
		}
	}
}

// write makes one log entry of what waits. The slot for it is taken.
func (n *Node) write() {
	items := n.queue.take()
	if len(items) == 0 { // somebody else was faster
		n.release()
		return
	}
	begun := time.Now()
	future := n.raft.Apply(fsm.Pack(encodings(items)), enqueueFor)
	finish := func() {
		results, err := outcome(future, len(items))
		if err == nil && n.cfg.Committed != nil {
			n.cfg.Committed(time.Since(begun))
		}
		n.release()
		n.queue.finish(items, results, err)
	}
	if !n.spawn(finish) {
		finish() // raft ends, and answers at once
	}
}

// release frees a slot.
func (n *Node) release() {
	<-n.slots
	select {
	case n.landed <- struct{}{}:
	default:
	}
}

func encodings(items []item) [][]byte {
	out := make([][]byte, len(items))
	for i, it := range items {
		out[i] = it.call.encoded[it.at]
	}
	return out
}

// outcome waits for an entry.
func outcome(f raft.ApplyFuture, commands int) ([]fsm.Result, error) {
	if err := f.Error(); err != nil {
		return nil, proposeError(err)
	}
	results, _ := f.Response().([]fsm.Result)
	if len(results) != commands {
		return nil, api.Errorf(api.CodeInternal, "an entry of %d commands has %d results", commands, len(results))
	}
	return results, nil
}
