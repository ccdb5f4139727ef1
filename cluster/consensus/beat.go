package consensus

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// beatEvery is the time between two heartbeats to a follower: of the timeout
// after which it stands for election, two and a bit.
const beatEvery = 180 * time.Millisecond

// beats sends the heartbeats to all followers at the same moments. They are
// nearly all that an idle leader does, and what it costs is being woken: once
// for all of them is cheaper than once for each.
type beats struct {
	every  time.Duration
	began  time.Time
	ending <-chan struct{}

	mu     sync.Mutex
	failed map[raft.ServerID]time.Time // when the last heartbeat failed
}

func newBeats(every time.Duration, ending <-chan struct{}) *beats {
	return &beats{every: every, began: time.Now(), ending: ending, failed: map[raft.ServerID]time.Time{}}
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

// note takes in how a heartbeat went.
func (b *beats) note(id raft.ServerID, err error) {
	if err == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed[id] = time.Now()
}

// failedSince tells whether a heartbeat to the follower failed after t: what
// was sent to it before may be lost.
func (b *beats) failedSince(id raft.ServerID, t time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed[id].After(t)
}
