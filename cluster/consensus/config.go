package consensus

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

const (
	heartbeatTimeout = 400 * time.Millisecond // below that a busy host loses its leader for no reason
	leaseTimeout     = heartbeatTimeout
	handoverTimeout  = 2 * heartbeatTimeout   // on the leader, which is how long raft lets it hand over the lead
	passiveTimeout   = 30 * heartbeatTimeout  // of a node that takes no part, and waits for no leader
	commitTimeout    = 400 * time.Millisecond // only a fallback: see pipe.announce
	maxMultiplier    = 50

	maxAppendEntries = 64
	placeEvery       = 5 * time.Second // between two looks whether the log is in its place
	logCache         = 1024            // entries
	snapshotsKept    = 2

	snapshotEntries = 8192      // log entries between two snapshots
	snapshotBytes   = 64 << 20  // or that much of the log
	trailingEntries = 10240     // entries that are kept for followers that lag
	trailingBytes   = 128 << 20 // or about that much of the log, with at least
	trailingFewest  = 64        // entries

	// Snapshots are taken when they are due (see glue), so raft's own timer
	// must never wake an idle node.
	never = 365 * 24 * time.Hour
)

// Config is what a node's Raft is made of.
type Config struct {
	NodeID string
	Dir    string     // of the log and the snapshots; not needed if all stores are given
	Store  *fsm.Store // that committed entries are applied to

	// One of the two: a stream layer, usually over mutual TLS, or a transport. A
	// layer that is a NodeDialer makes sure that it is the right node that answers.
	// Both are closed at the end of Run.
	Stream    raft.StreamLayer
	Transport raft.Transport

	// AddrOf is the address of a node now; what it does not know is reached
	// at the address it joined with. May be nil.
	AddrOf func(nodeID string) (addr string, ok bool)

	// Before is how far this node had come, as kept by Remember outside of Dir;
	// nil if it never took part. With a log that has less, it is damaged: see
	// Node.Damaged. Remember is called before the first entry or vote is written,
	// and once in a while after that; it must have synced what it keeps when it
	// returns. Both may be nil.
	Before   *Standing
	Remember func(Standing) error

	// Ask asks other nodes how far they saw this one come, until all that matter
	// have answered or ctx ends. A voter that starts does so before its first
	// vote. It fails if they know that Dir is an older copy. May be nil.
	Ask func(ctx context.Context) (Standing, error)

	// Committed is told how long an entry of this node took, from when it was given to
	// raft until it had taken effect here. It must not block. May be nil.
	Committed func(took time.Duration)

	// Refilled is called when Node.Refilled changed. It must not block. May be nil.
	Refilled func()

	// Multiplier stretches the timeouts of elections, for slow networks; 0 is
	// 1: a new leader about half a second after the old one died.
	Multiplier float64

	Log *slog.Logger // nil = slog.Default

	// In place of those on disk, for tests. All three or none.
	LogStore      raft.LogStore
	StableStore   raft.StableStore
	SnapshotStore raft.SnapshotStore

	snapshotEntries uint64        // 0 = the constant; tests lower it
	placeEvery      time.Duration // the same
}

func (c Config) withDefaults() (Config, error) {
	given := 0
	for _, s := range []bool{c.LogStore != nil, c.StableStore != nil, c.SnapshotStore != nil} {
		if s {
			given++
		}
	}
	switch {
	case c.NodeID == "":
		return c, errors.New("consensus: Config.NodeID is empty")
	case c.Store == nil:
		return c, errors.New("consensus: Config.Store is nil")
	case (c.Stream == nil) == (c.Transport == nil):
		return c, errors.New("consensus: Config needs one of Stream and Transport")
	case given != 0 && given != 3:
		return c, errors.New("consensus: Config needs all of LogStore, StableStore and SnapshotStore, or none")
	case given == 0 && c.Dir == "":
		return c, errors.New("consensus: Config.Dir is empty")
	}
	if c.Multiplier == 0 {
		c.Multiplier = 1
	}
	if c.Multiplier < 0.1 || c.Multiplier > maxMultiplier {
		return c, api.FieldErrorf("raft-multiplier", "%g is not from 0.1 to %d", c.Multiplier, maxMultiplier)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.snapshotEntries == 0 {
		c.snapshotEntries = snapshotEntries
	}
	if c.placeEvery == 0 {
		c.placeEvery = placeEvery
	}
	return c, nil
}

// alarm makes what tells that the leader is silent. Where the messages of tests
// travel, their time passes too.
func (c *Config) alarm() func(ring func()) alarm {
	if c.Transport != nil {
		return newTimerAlarm
	}
	return newAlarm
}

func (c *Config) stretch(d time.Duration) time.Duration {
	return time.Duration(float64(d) * c.Multiplier)
}

// raftConfig is the library's configuration. notify hears of every change of
// leadership.
func (c *Config) raftConfig(notify chan<- bool) *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.NodeID)
	rc.HeartbeatTimeout = c.stretch(heartbeatTimeout)
	rc.ElectionTimeout = c.stretch(heartbeatTimeout)
	rc.LeaderLeaseTimeout = c.stretch(leaseTimeout)
	rc.CommitTimeout = commitTimeout
	rc.MaxAppendEntries = maxAppendEntries
	rc.BatchApplyCh = true
	rc.ShutdownOnRemove = false // a node that is removed goes passive, and may come back
	rc.SnapshotInterval = never
	rc.SnapshotThreshold = c.snapshotEntries
	rc.TrailingLogs = trailingEntries
	rc.NotifyCh = notify
	rc.NoLegacyTelemetry = true
	rc.Logger = newLogBridge(c.Log)
	return rc
}
