package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/cluster/consensus/disk"
)

// guard watches the disk under the log: whether writes succeed, how long they
// take, whether what is read is what was written, and that nothing is cut off
// that took effect.
type guard struct {
	log    *slog.Logger
	ending <-chan struct{} // closed when the node ends
	slow   chan struct{}   // cap 1: how patient elections should be has changed

	opened  atomic.Bool   // raft runs: it cannot take an error of the log any more
	halt    func(error)   // ends the node; does not return
	applied func() uint64 // index of the newest entry that took effect, in this life or before
	snaps   raft.SnapshotStore

	inPlace  func() error          // that what is written is where the next start looks; nil = it is in memory
	damaged  func() error          // why this node must not vote; nil = it may
	remember func() error          // that this node takes part: before it writes anything
	spent    atomic.Pointer[spent] // the last vote in this life; nil = none
	took     atomic.Bool           // it did

	voted func(term uint64) <-chan error // keeps outside of the log that it votes in a term, which is on disk
	cut   func(from, to uint64)          // notes that the end of the log continues a leader's order

	hangs atomic.Bool // a write of entries does not end

	mu    sync.Mutex
	err   error
	fault fault
	sick  chan struct{} // closed while err is set
	pace  pace
	since time.Time   // when the write of entries began that is under way; zero = none
	late  *time.Timer // tells that it does not end
}

func newGuard(log *slog.Logger, timeout time.Duration, ending <-chan struct{}) *guard {
	return &guard{log: log, ending: ending, slow: make(chan struct{}, 1), sick: make(chan struct{}), pace: newPace(timeout, electionWrites)}
}

// hangAfter is how long a write of entries may take, or three times as long as
// writes take lately, until the disk counts as one that hangs.
const hangAfter = 3 * time.Second

var errHangs = fmt.Errorf("a write has not ended after %v or more", hangAfter)

// begins notes that a write of entries does.
func (g *guard) begins(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wait := max(hangAfter, 3*g.pace.slow())
	g.since = now
	if g.late == nil {
		g.late = time.AfterFunc(wait, g.hung)
		return
	}
	g.late.Reset(wait)
}

// hung notes that a write does not end. Raft waits for it, and sends heartbeats
// meanwhile, so a leader would lead a cluster that takes nothing.
func (g *guard) hung() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.since.IsZero() || time.Since(g.since) < hangAfter { // it has just ended
		return
	}
	g.hangs.Store(true)
	if g.err == nil {
		g.log.Error("the disk of the raft log hangs; this node does not lead until it answers", "err", errHangs)
		g.err = errHangs
		g.fault.failed(errHangs, time.Now())
		close(g.sick)
	}
}

func (g *guard) ends() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.since = time.Time{}
	g.late.Stop()
	g.hangs.Store(false)
}

// wrote notes the end of a write.
func (g *guard) wrote(what string, began time.Time, err error) error {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
		if g.err == nil {
			g.log.Error("the raft log cannot be written; this node does not lead until it can", "err", err)
			close(g.sick)
		}
		g.err = err
		g.fault.failed(err, now)
		return err
	}
	if g.err != nil && !g.hangs.Load() {
		g.log.Info("the raft log can be written again")
		g.err, g.sick = nil, make(chan struct{})
	}
	if g.pace.observe(now.Sub(began), now) {
		select {
		case g.slow <- struct{}{}:
		default:
		}
	}
	return nil
}

// failure is the error of the last write, nil if it succeeded.
func (g *guard) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// told is what to tell others of what is wrong.
func (g *guard) told(now time.Time) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fault.text(g.err, now)
}

// unwell is closed while writes fail.
func (g *guard) unwell() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sick
}

// patience is by how much elections should be slower because of the disk, and
// how long writes took.
func (g *guard) patience() (factor int, slowest time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pace.factor, g.pace.slow()
}

// begin makes sure, before anything is written, that the next start finds it,
// and that it is remembered that this node takes part. A node whose log is not
// in its place any more halts: it would acknowledge what it is about to forget.
func (g *guard) begin() error {
	if err := g.present(); err != nil {
		return err
	}
	if g.took.Load() || g.remember == nil {
		return nil
	}
	err := g.remember()
	g.took.Store(err == nil)
	return err
}

func (g *guard) present() error {
	if g.inPlace == nil {
		return nil
	}
	err := g.inPlace()
	if err != nil && g.opened.Load() {
		g.halt(err) // which does not return
	}
	return err
}

// watchPlace halts the node once its log is not in its place any more, also while
// nothing is written: its next start would find a voter that forgot.
func (n *Node) watchPlace() {
	tick := time.NewTicker(n.cfg.placeEvery)
	defer tick.Stop()
	for {
		select {
		case <-n.ending:
			return
		case <-tick.C:
			_ = n.guard.present() // while the node opens, who writes is told
		}
	}
}

// mayVote tells why no vote must be kept.
func (g *guard) mayVote() error {
	if g.damaged == nil {
		return nil
	}
	return g.damaged()
}

// guardedLogs is a log store under guard.
type guardedLogs struct {
	raft.LogStore
	*guard
}

func (l guardedLogs) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

func (l guardedLogs) StoreLogs(e []*raft.Log) error {
	began := time.Now()
	l.begins(began)
	err := l.begin()
	if err == nil {
		err = l.LogStore.StoreLogs(e)
	}
	l.ends()
	return l.wrote("write the raft log", began, err)
}

// GetLog halts the node over an entry that cannot be read: raft would crash the
// program, or send nothing to a follower for ever.
func (l guardedLogs) GetLog(index uint64, e *raft.Log) error {
	err := l.LogStore.GetLog(index, e)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) && l.opened.Load() {
		l.halt(err)
	}
	return err
}

// DeleteRange refuses to cut off what took effect here, and halts the node:
// whoever asks for it leads a cluster with another history. What a snapshot
// covers may go from the other end.
func (l guardedLogs) DeleteRange(from, to uint64) error {
	if err := l.mayDelete(from, to); err != nil {
		l.halt(err) // which does not return
		return err
	}
	if last, err := l.LastIndex(); err == nil && l.cut != nil && to >= last {
		l.cut(from, last)
	}
	return l.LogStore.DeleteRange(from, to)
}

func (l guardedLogs) mayDelete(from, to uint64) error {
	first, err := l.FirstIndex()
	if err != nil {
		return err
	}
	snaps, err := l.snaps.List()
	if err != nil {
		return err
	}
	applied, covered := l.applied(), uint64(0)
	if len(snaps) > 0 {
		covered = snaps[0].Index
		applied = max(applied, covered)
	}
	if from > applied || from <= first && to <= covered {
		return nil
	}
	return api.Errorf(api.CodeConflict, "the leader has another history: it would cut the entries from %d on off this node's log, and those up to %d took effect here; "+
		"if the cluster was recovered without this node, move this node's folder raft away and start it again", from, applied)
}

// guardedStable is a stable store under guard. Raft writes a vote from one
// goroutine: its term, then whom it is for.
type guardedStable struct {
	raft.StableStore
	*guard
	vote *vote
}

// vote is the one that is being written.
type vote struct {
	noted <-chan error // how keeping it outside of the log goes; nil = it is not kept
}

// Set writes whom a vote is for, and returns once it is also known outside of
// the log that this node voted, if that can be written: a full disk must not
// keep it from voting.
func (s guardedStable) Set(key, val []byte) error {
	if err := s.mayVote(); err != nil {
		return err
	}
	began := time.Now()
	err := s.begin()
	if err == nil {
		err = s.StableStore.Set(key, val)
	}
	if noted := s.vote.noted; noted != nil {
		s.vote.noted = nil
		if failed := <-noted; failed != nil {
			s.log.Warn("if the raft log were lost now, this vote would be forgotten", "err", failed)
		}
	}
	return s.wrote("write the vote", began, err)
}

// keepVote notes the term of a vote outside of the log, beside what raft writes.
func (s guardedStable) keepVote(term uint64) {
	if s.voted != nil && s.mayVote() == nil {
		s.vote.noted = s.voted(term)
	}
}

// SetUint64 does not return while the term cannot be written: raft panics on
// an error there, while to stand still until there is space again is safe.
// When the node ends meanwhile, so does the goroutine that called.
func (s guardedStable) SetUint64(key []byte, val uint64) error {
	if bytes.Equal(key, []byte(disk.KeyVoteTerm)) {
		s.keepVote(val)
	}
	for retry := backoff.New(50*time.Millisecond, time.Second); ; {
		began := time.Now()
		err := s.present()
		if err == nil {
			err = s.StableStore.SetUint64(key, val)
		}
		err = s.wrote("write the term", began, err)
		if err == nil && bytes.Equal(key, []byte(disk.KeyVoteTerm)) {
			s.spent.Store(&spent{val, time.Now()})
		}
		if err == nil || !bytes.Equal(key, []byte(disk.KeyTerm)) {
			return err
		}
		select {
		case <-time.After(retry.Next()):
		case <-s.ending:
			runtime.Goexit()
		}
	}
}
