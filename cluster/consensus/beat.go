package consensus

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// beatEvery is the time between two heartbeats to a follower: of the timeout
// after which it stands for election, two and a bit.
const beatEvery = 180 * time.Millisecond

// nudgesUnheeded is how many nudges raft may leave unheeded until it gets no
// more of them: as many as its queue for them holds, and some, would block
// heartbeats.
const nudgesUnheeded = 16

// beats sends the heartbeats to all followers at the same moments. They are
// nearly all that an idle leader does, and what it costs is being woken: once
// for all of them is cheaper than once for each.
type beats struct {
	every  time.Duration
	began  time.Time
	ending <-chan struct{}
	spawn  func(func()) bool // starts a goroutine, unless the node ends

	mu       sync.Mutex
	failed   map[raft.ServerID]time.Time // when the last heartbeat failed
	answered map[raft.ServerID]time.Time // when raft was told of an answer, until it is there with the next heartbeat
	slow     map[raft.ServerID]*slowBeat
	nudged   time.Duration // the beat of the last nudge
	unheeded int           // nudges since raft was seen to heed one
}

// slowBeat is the heartbeat that is on its way over a slow link, and the answer
// to the one before.
type slowBeat struct {
	term   uint64
	done   chan struct{} // closed with the outcome; nil = none is on its way
	err    error
	answer raft.AppendEntriesResponse
	asked  time.Time // when the heartbeat left that it answers
}

func newBeats(every time.Duration, ending <-chan struct{}) *beats {
	return &beats{every: every, began: time.Now(), ending: ending, nudged: -1, failed: map[raft.ServerID]time.Time{}, answered: map[raft.ServerID]time.Time{}, slow: map[raft.ServerID]*slowBeat{}}
}

// isHeartbeat tells a heartbeat from other empty messages, as raft does.
func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.Term != 0 && a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

// await blocks until the next beat; it is false when the node ends.
func (b *beats) await() bool {
	t := time.NewTimer(b.every - time.Since(b.began)%b.every)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-b.ending:
		return false
	}
}

// here notes that raft is there with the next heartbeat to a follower. By itself
// it comes a tenth to a fifth of its timeout after the last answer.
func (b *beats) here(id raft.ServerID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last, ok := b.answered[id]; ok && time.Since(last) < b.every/10 {
		b.unheeded = 0
	}
	delete(b.answered, id)
}

// nudge asks raft, once in each beat, to be there with the next heartbeats as
// soon as those that leave now are answered: else an idle leader would be woken
// once more for each. It does not ask a raft that is busy, as one is that waits
// for its disk.
func (b *beats) nudge(ask func()) {
	b.mu.Lock()
	beat := time.Since(b.began) / b.every
	due := beat != b.nudged && b.unheeded < nudgesUnheeded
	if due {
		b.nudged = beat
		b.unheeded++
	}
	b.mu.Unlock()
	if due {
		ask()
	}
}

// forget begins anew: this node begins or ends to lead.
func (b *beats) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unheeded = 0
	clear(b.answered)
}

// note takes in how a heartbeat went.
func (b *beats) note(id raft.ServerID, err error) {
	if err == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed[id] = time.Now()
}

// over notes that raft is told of an answer.
func (b *beats) over(id raft.ServerID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answered[id] = time.Now()
}

// failedSince reports whether a heartbeat to the follower failed after t: what
// was sent to it before may be lost.
func (b *beats) failedSince(id raft.ServerID, t time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed[id].After(t)
}

// patient sends a heartbeat. Raft gives the lead up when answers stay away for
// longer than its lease, which cannot be changed while it runs; over a slow link
// it is told the last answer for as long as the heartbeat that it answers did not
// leave longer ago than allowed. So what raft notes of a follower is not proof that
// it still follows.
func (b *beats) patient(id raft.ServerID, term uint64, allowed time.Duration, resp *raft.AppendEntriesResponse, send func(*raft.AppendEntriesResponse) error) error {
	if allowed == 0 {
		return send(resp)
	}
	s, done := b.begin(id, term, send)
	timer := time.NewTimer(b.every)
	defer timer.Stop()
	for waited := false; ; waited = true {
		over := timer.C
		if waited {
			over = nil
		}
		select {
		case <-done:
			return b.outcome(s, allowed, resp)
		case <-b.ending:
			return errEnding
		case <-over:
			if b.vouch(s, allowed, resp) {
				return nil
			}
		}
	}
}

// begin sends a heartbeat unless one is on its way.
func (b *beats) begin(id raft.ServerID, term uint64, send func(*raft.AppendEntriesResponse) error) (*slowBeat, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.slow[id]
	if s == nil || s.term != term {
		s = &slowBeat{term: term}
		b.slow[id] = s
	}
	if s.done != nil {
		return s, s.done
	}
	done := make(chan struct{})
	s.done = done
	run := func() {
		var answer raft.AppendEntriesResponse
		asked := time.Now()
		err := send(&answer)
		b.mu.Lock()
		defer b.mu.Unlock()
		if s.err = err; err == nil {
			s.answer, s.asked = answer, asked
		}
		s.done = nil
		close(done)
	}
	if !b.spawn(run) {
		s.done, s.err = nil, errEnding
		close(done)
	}
	return s, done
}

// outcome is the answer that came, or else the last one.
func (b *beats) outcome(s *slowBeat, allowed time.Duration, resp *raft.AppendEntriesResponse) error {
	b.mu.Lock()
	err := s.err
	if err == nil {
		*resp = s.answer
	}
	b.mu.Unlock()
	if err != nil && b.vouch(s, allowed, resp) {
		return nil
	}
	return err
}

// vouch fills the last answer in if it is recent enough.
func (b *beats) vouch(s *slowBeat, allowed time.Duration, resp *raft.AppendEntriesResponse) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.asked.IsZero() || time.Since(s.asked) >= allowed {
		return false
	}
	*resp = s.answer
	return true
}
