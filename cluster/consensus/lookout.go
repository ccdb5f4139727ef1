package consensus

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// stagger lies between the elections of two followers that miss the same
	// leader. The one that stands last wins: those before it are the first that
	// grant it a vote, since they have given the leader up.
	stagger = 25 * time.Millisecond

	// again is when to look again what raft did, or whether a node that hears
	// of a leader takes part by now.
	again = 20 * time.Millisecond

	preVoteTries = 3
	preVoteAgain = 100 * time.Millisecond
)

// lookout notices that the leader is silent, at the moment when it has been
// for the timeout. Raft looks for itself too, but at random moments, so it
// would find that out up to twice the timeout later.
type lookout struct {
	alarm   alarm
	rang    chan struct{} // cap 1
	wait    atomic.Int64  // the timeout, a time.Duration
	passive atomic.Bool   // this node has the settings of one that takes no part
}

func newLookout(wait time.Duration, alarm func(ring func()) alarm) *lookout {
	l := &lookout{rang: make(chan struct{}, 1)}
	l.wait.Store(int64(wait))
	l.alarm = alarm(func() {
		select {
		case l.rang <- struct{}{}:
		default:
		}
	})
	return l
}

// heard notes that the leader said something. It is called for each message,
// and wakes nobody.
func (l *lookout) heard() {
	wait := time.Duration(l.wait.Load())
	if l.passive.Load() {
		wait = again
	}
	l.alarm.set(wait)
}

// watchLeader stands for election when the leader is silent, until the node
// ends.
func (n *Node) watchLeader() {
	l := n.wire.lookout
	defer l.alarm.stop()
	for {
		select {
		case <-n.ending:
			return
		case <-l.rang:
			if l.passive.Load() {
				n.retune()
			} else if wait := n.overdue(); wait > 0 {
				l.alarm.set(wait)
			}
		}
	}
}

// overdue stands for election if it is time to. It returns when to look again,
// zero if the next message of a leader says when.
func (n *Node) overdue() time.Duration {
	leader, voters := n.LeaderID(), n.Voters()
	if leader == "" || leader == n.cfg.NodeID || !slices.Contains(voters, n.cfg.NodeID) {
		return 0
	}
	voters = slices.DeleteFunc(voters, func(id string) bool { return id == leader })
	turn := n.cfg.stretch(stagger)
	if factor, late := n.wire.links.patience(); factor > 1 {
		turn += late // or the next stands before it hears of this one
	}
	turn *= time.Duration(slices.Index(voters, n.cfg.NodeID))
	due := time.Duration(n.wire.lookout.wait.Load()) + turn + 2*time.Millisecond // more than elect takes off
	if left := due - time.Since(n.raft.LastContact()); left > 0 {
		return left
	}
	n.elect()
	return again
}

// RequestPreVote asks whether an election could be won. A voter that still
// hopes for the old leader says no, and will not a moment later: it is asked
// again then, since raft itself would wait for the whole timeout. That matters
// when this node is the only one whose log is long enough.
func (w *wire) RequestPreVote(id raft.ServerID, addr raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	p, ok := w.Transport.(raft.WithPreVote)
	if !ok {
		return errNoPreVote
	}
	if err := w.damaged(); err != nil {
		return err
	}
	if w.retired.Load() {
		return errRetired
	}
	for try := 1; ; try++ {
		*resp = raft.RequestPreVoteResponse{}
		began := time.Now()
		err := p.RequestPreVote(id, addr, args, resp)
		if err == nil {
			w.links.answered(id, time.Since(began))
		}
		if w.heardRetired(err) {
			return errRetired
		}
		if err != nil || resp.Granted || resp.Term > args.Term || try == preVoteTries {
			return err
		}
		select {
		case <-time.After(preVoteAgain):
		case <-w.ending:
			return nil
		}
		if r := w.raft.Load(); r == nil || r.State() != raft.Candidate || r.CurrentTerm() >= args.Term {
			return nil // the campaign is over
		}
	}
}
