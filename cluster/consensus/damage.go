package consensus

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/cluster/consensus/disk"
)

const (
	// askWithin bounds how long a voter that starts holds its vote back to hear
	// what the others saw of it. When the power of a whole cluster was cut, some
	// are never there to answer.
	askWithin = 1500 * time.Millisecond

	// mendEvery is how often a damaged voter looks whether it is whole again.
	mendEvery = 50 * time.Millisecond
)

// damage is why a node must not vote.
type damage struct {
	err   error
	lost  string   // what is lost, in a sentence
	least Standing // that it has to reach before it votes
	mends bool     // a leader fills in what is lost; else it only waits for answers
}

// inspect finds out whether something that this node had is lost, before
// anything is done with it. A folder that has voted once is never new: a voter
// that forgot what it had acknowledged would elect a leader without it.
func (n *Node) inspect() error {
	have, err := n.stores.standing()
	if err != nil {
		return err
	}
	path := filepath.Join(n.cfg.Dir, disk.LogName)
	before := n.cfg.Before
	if before != nil {
		n.noted = *before
	}
	n.began = n.accounts(have)
	lost := ""
	switch {
	case n.stores.file != nil && n.stores.file.Damaged():
		lost = path + " was damaged and is not filled in again yet"
	case have.Term == 0 && (before != nil || have.LastIndex != 0):
		lost = path + " is gone or empty, and this node has voted"
	case before != nil && have.Behind(*before):
		lost = fmt.Sprintf("%s is older than this node: it is of term %d and ends with entry %d, and there were term %d and entry %d", path, have.Term, have.LastIndex, before.Term, before.LastIndex)
	}
	switch {
	case lost != "":
		if before == nil {
			before = &Standing{}
		}
		return n.lose(lost, *before)
	case have.Term == 0:
		return nil // it never took part
	}
	if err := n.remember(func(Standing) (Standing, error) { return have, nil }); err != nil { // on a full disk it starts all the same, and remembers before it writes
		n.cfg.Log.Warn("a loss of the raft log would not be noticed", "err", err)
		return nil
	}
	n.remembered = true
	return nil
}

// lose notes that something is lost: for this life at once, and then on disk, so
// that the next start knows it too. Where only the second fails, it does not vote
// all the same; see mend.
func (n *Node) lose(what string, least Standing) error {
	err := api.Errorf(api.CodeUnavailable, "this voter is damaged: %s. It does not vote until a leader has sent it all that the cluster agreed on; "+
		"that needs a majority of the other voters, so start those that are stopped. If they are lost for good, see `mesita cluster recover`", what)
	n.cfg.Log.Error("this voter is damaged", "err", err)
	n.damage.Store(&damage{err: err, lost: what, least: least, mends: true})
	return n.stores.noteDamage(true)
}

// Damaged is why this node does not vote for now, nil if it would.
func (n *Node) Damaged() error {
	if d := n.damage.Load(); d != nil {
		return d.err
	}
	return nil
}

// remember keeps how far this node has come, outside of its folder, given what
// was kept of it before. The log is read by change: else what it held before a cut
// could be kept after the note of that.
func (n *Node) remember(change func(was Standing) (Standing, error)) error {
	if n.cfg.Remember == nil {
		return nil
	}
	n.notes.Lock()
	defer n.notes.Unlock()
	next, err := change(n.noted)
	if err != nil {
		return err
	}
	if c := n.noted.cut(); c.LastIndex > 0 && next.LastTerm == c.LastTerm && next.LastIndex == c.LastIndex { // noted, and not cut off yet
		next.LastTerm, next.LastIndex = n.noted.LastTerm, n.noted.LastIndex
	}
	next = next.cutAt(n.noted.cut().And(next.cut()))
	if err := n.cfg.Remember(next); err != nil {
		return fmt.Errorf("remember how far this voter has come: %w", err)
	}
	n.noted = next
	return nil
}

// accounts is a standing with what is missing from the log on a leader's order.
func (n *Node) accounts(have Standing) Standing {
	n.notes.Lock()
	defer n.notes.Unlock()
	return have.And(n.noted.cut())
}

// voted keeps that this node votes in a term before anybody hears of it: if it
// lost its log in this very term, nobody else might know.
func (n *Node) voted(term uint64) <-chan error {
	done := make(chan error, 1)
	keep := func() {
		done <- n.remember(func(Standing) (Standing, error) {
			have, err := n.stores.standing()
			have.Term = max(have.Term, term)
			return have, err
		})
	}
	if n.cfg.Remember == nil || !n.spawn(keep) {
		return nil
	}
	return done
}

// noteCut notes, before a leader has the entries from one on up to the last cut
// off this node's log, that they are not loss: this node may be killed before it
// has written what comes in their place.
func (n *Node) noteCut(from, last uint64) {
	if d := n.damage.Load(); d != nil && d.mends {
		return // what it had is what it has to reach
	}
	err := n.remember(func(was Standing) (Standing, error) {
		var end raft.Log
		if err := n.stores.logs.GetLog(last, &end); err != nil {
			return was, err
		}
		left, err := n.stores.endsAt(from - 1)
		return Standing{Term: was.Term, LastTerm: left.LastTerm, LastIndex: left.LastIndex, CutTerm: end.Term, CutIndex: end.Index}, err
	})
	if err != nil {
		n.cfg.Log.Warn("if this node were killed now, it would take what a leader has cut off its log for lost", "err", err)
	}
}

// keepStanding remembers how far this node is now, as well as it can.
func (n *Node) keepStanding() {
	if n.Damaged() != nil || n.cfg.Remember == nil {
		return
	}
	s, err := n.stores.standing()
	if err == nil && s.Term > 0 { // else it never took part
		err = n.remember(func(Standing) (Standing, error) { return n.stores.standing() })
	}
	if err != nil {
		n.cfg.Log.Warn("a copy of an older raft log would not be noticed", "err", err)
	}
}

// errAsking is why a voter that has just started does not vote yet.
var errAsking = api.Errorf(api.CodeUnavailable, "this voter has just started, and asks the other nodes what they saw of it before it votes")

// askOthers holds this node's vote back until the others have told what they
// saw of it, or some time is over.
func (n *Node) askOthers() {
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	n.spawn(func() {
		select {
		case <-n.ending:
			cancel()
		case <-ctx.Done():
		}
	})
	seen, older := n.cfg.Ask(ctx)
	cancel()
	if d := n.damage.Load(); d.mends {
		n.damage.Store(&damage{err: d.err, lost: d.lost, least: d.least.And(seen), mends: true})
		return
	}
	have, err := n.stores.standing()
	switch {
	case older != nil:
	case err != nil:
		older = fmt.Errorf("it cannot be compared with what other nodes saw of it: %w", err)
	case n.accounts(have).Behind(seen):
		older = olderCopy(have, seen)
	case n.began.Behind(seen): // a leader was quicker than the answers
		n.damage.Store(nil)
		n.refilled(olderCopy(n.began, seen).Error())
		return
	default:
		n.damage.Store(nil)
		return
	}
	if err := n.lose(older.Error(), seen); err != nil {
		n.cfg.Log.Warn("a restart would have to ask the other nodes again", "err", err)
	}
	n.retune()
}

// olderCopy is an error only if it was not filled in yet.
func olderCopy(have, seen Standing) error {
	return fmt.Errorf("other nodes saw it with term %d and entry %d, and its log was of term %d and ended with entry %d: its folder is an older copy",
		seen.Term, seen.LastIndex, have.Term, have.LastIndex)
}

// Refill is what a leader filled in of a voter that had lost something.
type Refill struct {
	Lost    string // what had happened, in a sentence
	Entries uint64 // that it was sent for it
	From    string // id of the leader
}

// Refilled is what was filled in since this node started, nil if nothing was.
func (n *Node) Refilled() *Refill { return n.refill.Load() }

// refilled notes that what was lost is there again.
func (n *Node) refilled(lost string) {
	last := n.LastIndex()
	r := &Refill{Lost: lost, Entries: last - min(n.began.LastIndex, last), From: n.LeaderID()}
	n.refill.Store(r)
	n.cfg.Log.Warn("this voter had lost something, which was fetched again from the leader", "lost", lost, "entries", r.Entries, "from", r.From)
	if n.cfg.Refilled != nil {
		n.cfg.Refilled()
	}
}

// regain lets this node vote as soon as it may: not before it knows how far it
// had come, and holds that.
func (n *Node) regain() {
	if n.cfg.Ask != nil {
		n.askOthers()
	}
	if n.Damaged() != nil {
		n.mend()
	}
}

// mend waits until a damaged voter holds what the leader had committed. It continues
// until what is so is on disk.
func (n *Node) mend() {
	retry := backoff.New(mendEvery, time.Second)
	for wait, noted := mendEvery, false; ; {
		select {
		case <-n.ending:
			return
		case <-time.After(wait):
		}
		whole := n.whole()
		if noted && !whole {
			continue
		}
		if err := n.stores.noteDamage(!whole); err != nil {
			if retry.First() {
				n.cfg.Log.Error("whether this voter is damaged cannot be noted; it is tried again", "whole", whole, "err", err)
			}
			wait = retry.Next()
			continue
		}
		if whole {
			break
		}
		noted, wait = true, mendEvery
		retry.Reset()
	}
	lost := n.damage.Load().lost
	n.damage.Store(nil)
	n.keepStanding()
	n.retune()
	n.cfg.Log.Info("this voter is whole again, and votes", "index", n.LastIndex())
	n.refilled(lost)
}

// whole reports whether a leader, of a term not before what this node knew, has
// sent it all that was committed, and at least what it had.
func (n *Node) whole() bool {
	known, d := n.wire.leaderCommit(), n.damage.Load()
	if known.commit == 0 || known.term < d.least.Term || !n.holds(known) {
		return false
	}
	have, err := n.stores.standing()
	return err == nil && !have.Behind(Standing{Term: known.term, LastTerm: d.least.LastTerm, LastIndex: d.least.LastIndex})
}

// errHeldBack is what a vote that was asked for gets.
var errHeldBack = errors.New("this voter does not vote now")

// refuse tells why a request of another voter must not come to raft.
func (n *Node) refuse(rpc raft.RPC) error {
	d := n.damage.Load()
	switch r := rpc.Command.(type) {
	case *raft.InstallSnapshotRequest:
		applied, err := n.reached()
		if err != nil {
			return err
		}
		if r.LastLogIndex < applied {
			return api.Errorf(api.CodeConflict, "the snapshot is of entry %d, and those up to %d took effect here", r.LastLogIndex, applied)
		}
		if d != nil && r.Term < d.least.Term {
			return d.err
		}
	case *raft.AppendEntriesRequest:
		if d != nil && r.Term < d.least.Term {
			return d.err
		}
	case *raft.RequestVoteRequest, *raft.RequestPreVoteRequest, *raft.TimeoutNowRequest:
		if p, ok := r.(*raft.RequestPreVoteRequest); ok {
			if err := n.retires(p); err != nil {
				return err
			}
		}
		if d != nil {
			return fmt.Errorf("%w: %w", errHeldBack, d.err)
		}
	}
	return nil
}
