package consensus

import (
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/fsm"
)

// glue applies what raft committed to the store. All methods but due and
// entrySize are called from raft's one goroutine for that.
type glue struct {
	store  *fsm.Store
	limit  uint64          // entries between snapshots
	ending <-chan struct{} // closed when the node ends
	fatal  chan error      // cap 1: why the node cannot continue
	full   chan struct{}   // cap 1: a snapshot is due

	applied func(index uint64) // called after entries up to index took effect

	mu      sync.Mutex
	entries uint64 // since the last snapshot
	bytes   uint64
	size    uint64 // of an entry, on average, before the last snapshot
	failed  error  // of the last restore
}

var _ raft.BatchingFSM = (*glue)(nil)

func newGlue(store *fsm.Store, limit uint64, applied func(uint64), ending <-chan struct{}) *glue {
	return &glue{store: store, limit: limit, applied: applied, ending: ending, fatal: make(chan error, 1), full: make(chan struct{}, 1)}
}

// Apply applies one entry; raft prefers ApplyBatch.
func (g *glue) Apply(l *raft.Log) any { return g.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch applies entries; the response of each is its []fsm.Result.
func (g *glue) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	entries := make([]fsm.Entry, 0, len(logs))
	at := make([]int, 0, len(logs))
	size := 0
	for i, l := range logs {
		size += len(l.Data)
		if l.Type == raft.LogCommand {
			entries = append(entries, fsm.Entry{Index: l.Index, Data: l.Data})
			at = append(at, i)
		}
	}
	if len(entries) > 0 {
		results, err := g.store.Apply(entries)
		if err != nil {
			g.halt(fmt.Errorf("apply the log: %w", err))
		}
		for i, r := range results {
			out[at[i]] = r
		}
	}
	g.count(len(logs), size)
	g.applied(logs[len(logs)-1].Index)
	return out
}

// halt stops applying for good: to skip an entry would make this replica
// differ from the others. The node ends, its goroutine with it.
func (g *glue) halt(err error) {
	select {
	case g.fatal <- err:
	default:
	}
	<-g.ending
	runtime.Goexit()
}

func (g *glue) count(entries, bytes int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entries += uint64(entries)
	g.bytes += uint64(bytes)
	if g.entries >= g.limit || g.bytes >= snapshotBytes {
		select {
		case g.full <- struct{}{}:
		default:
		}
	}
}

// due reports whether it is time for a snapshot.
func (g *glue) due() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.entries >= g.limit || g.bytes >= snapshotBytes
}

// trailing is how many entries of the log to keep after a snapshot.
func (g *glue) trailing() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.size == 0 {
		return trailingEntries
	}
	return max(trailingFewest, min(trailingEntries, trailingBytes/g.size))
}

// Snapshot notes the state; writing it happens beside the next entries.
func (g *glue) Snapshot() (raft.FSMSnapshot, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.entries > 0 {
		g.size = g.bytes/g.entries + 1
	}
	g.entries, g.bytes = 0, 0
	return persist{g.store.Snapshot()}, nil
}

// Restore replaces the state. A snapshot that came from the leader and cannot
// be read halts the node, as an entry would.
func (g *glue) Restore(r io.ReadCloser) error {
	defer r.Close()
	err := g.store.Restore(r)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = err
	if err != nil {
		select {
		case g.fatal <- err:
		default:
		}
		return err
	}
	g.entries, g.bytes = 0, 0
	return nil
}

// opened forgets a restore that failed while opening and was made up for by
// an older snapshot, and returns its error.
func (g *glue) opened() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.fatal:
	default:
	}
	return g.failed
}

// persist writes a snapshot; raft closes the sink.
type persist struct{ *fsm.Snapshot }

func (p persist) Persist(sink raft.SnapshotSink) error { return p.Write(sink) }
func (persist) Release()                               {}
