package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/mesita/mesita/api"
)

// Buckets of the log file, as raft-boltdb names them.
const (
	logBucket  = "logs"
	voteBucket = "conf"
)

// Log is the log and the votes: raft-boltdb's store, in which every entry
// (see record) and every vote (see vote) is sealed. The log has no gaps: entries
// below one are superseded by a snapshot, and go.
type Log struct {
	path    string
	bolt    *raftboltdb.BoltStore
	opened  os.FileInfo   // see InPlace
	applied atomic.Uint64 // see Applied

	mu          sync.Mutex
	first, last uint64 // indexes of the log, 0 = it is empty
	mark        mark
}

var (
	_ raft.LogStore    = (*Log)(nil)
	_ raft.StableStore = (*Log)(nil)
)

// guarded calls f; where bbolt panics over a page, or runs out of the file, it
// fails.
func (l *Log) guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = Damaged(l.path, r)
		}
	}()
	return f()
}

// InPlace fails once the file that is written is not the one at its path: it was
// moved, deleted or replaced, and the next start would find nothing, or another
// past. A file system that does not answer is no such case; to write tells.
func (l *Log) InPlace() error {
	now, err := os.Stat(l.path)
	switch {
	case err == nil && os.SameFile(now, l.opened):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
		return nil
	}
	return api.Errorf(api.CodeFailed, "%s was moved, deleted or replaced while this node ran, so the next start would not find what it acknowledges: "+
		"put back what was there and start this node again; without raft alone the other voters fill it anew; without the data folder remove it (mesita node rm --force) and join it again", l.path)
}

// span is what the log holds, and what its mark says.
func (l *Log) span() (first, last uint64, m mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first, l.last, l.mark
}

// FirstIndex is that of the oldest entry, 0 if there is none.
func (l *Log) FirstIndex() (uint64, error) { first, _, _ := l.span(); return first, nil }

// LastIndex is that of the newest entry, 0 if there is none.
func (l *Log) LastIndex() (uint64, error) { _, last, _ := l.span(); return last, nil }

// GetLog reads an entry, and checks that it is the one that was written.
func (l *Log) GetLog(index uint64, e *raft.Log) error {
	var got raft.Log
	err := l.guarded(func() error { return l.bolt.GetLog(index, &got) })
	if errors.Is(err, raft.ErrLogNotFound) {
		if first, last, _ := l.span(); first != 0 && first <= index && index <= last {
			return Damaged(l.path, fmt.Errorf("entry %d is missing", index))
		}
		return raft.ErrLogNotFound
	}
	if err == nil && got.Index != index {
		err = fmt.Errorf("it is entry %d", got.Index)
	}
	if err == nil {
		var s seal
		if s, err = unseal(&got); err == nil && !s.present {
			err = errors.New("it has no checksum")
		}
	}
	if err != nil {
		return Damaged(l.path, fmt.Errorf("entry %d: %w", index, err))
	}
	*e = got
	return nil
}

// StoreLog appends an entry.
func (l *Log) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs appends entries. Those before a gap go: raft leaves one only where
// it was fed a snapshot.
func (l *Log) StoreLogs(es []*raft.Log) error {
	if len(es) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range es[1:] {
		if e.Index != es[i].Index+1 {
			return fmt.Errorf("entry %d follows entry %d", e.Index, es[i].Index)
		}
	}
	if err := l.makeRoom(es[0].Index); err != nil {
		return err
	}
	if err := l.put(es); err != nil {
		return err
	}
	if l.first == 0 {
		l.first = es[0].Index
	}
	l.last = es[len(es)-1].Index
	return nil
}

// put writes entries with their seals; l.mu is held, or nobody else has l.
func (l *Log) put(es []*raft.Log) error {
	sealed := make([]*raft.Log, len(es))
	applied := l.applied.Load()
	for i, e := range es {
		c := *e
		c.Extensions = sealOf(e, applied)
		sealed[i] = &c
	}
	return l.guarded(func() error { return l.bolt.StoreLogs(sealed) })
}

// makeRoom makes sure that the entry with an index may come next; l.mu is held.
func (l *Log) makeRoom(index uint64) error {
	switch {
	case l.last != 0 && index == l.last+1:
		return nil
	case l.last != 0 && index <= l.last:
		return fmt.Errorf("entry %d is in the raft log already", index)
	case index != 1 && index > l.mark.snapshot+1:
		return fmt.Errorf("entry %d would leave a gap in the raft log after %d", index, max(l.last, l.mark.snapshot))
	}
	return l.remove(l.first, l.last)
}

// DeleteRange removes entries at either end.
func (l *Log) DeleteRange(from, to uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	from, to = max(from, l.first), min(to, l.last)
	if l.last == 0 || from > to {
		return nil
	}
	if from != l.first && to != l.last {
		return fmt.Errorf("to remove the entries from %d to %d would leave a gap in the raft log", from, to)
	}
	return l.remove(from, to)
}

// remove deletes entries at either end; l.mu is held.
func (l *Log) remove(from, to uint64) error {
	if to == 0 {
		return nil
	}
	if err := l.guarded(func() error { return l.bolt.DeleteRange(from, to) }); err != nil {
		return err
	}
	switch {
	case from == l.first && to == l.last:
		l.first, l.last = 0, 0
	case from == l.first:
		l.first = to + 1
	default:
		l.last = from - 1
	}
	return nil
}

// Set keeps a vote, or the term.
func (l *Log) Set(key, val []byte) error {
	return l.guarded(func() error { return l.bolt.Set(key, sealVote(key, val)) })
}

// Get reads what Set kept.
func (l *Log) Get(key []byte) ([]byte, error) {
	var raw []byte
	err := l.guarded(func() (err error) { raw, err = l.bolt.Get(key); return err })
	if err != nil {
		return nil, err // raft compares the text of raft-boltdb's for a key without a value
	}
	val, sealed, err := openVote(key, raw)
	if err == nil && !sealed {
		err = errVote
	}
	if err != nil {
		return nil, Damaged(l.path, fmt.Errorf("%s: %w", key, err))
	}
	return val, nil
}

// SetUint64 keeps a number.
func (l *Log) SetUint64(key []byte, val uint64) error {
	return l.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 reads a number.
func (l *Log) GetUint64(key []byte) (uint64, error) {
	v, err := l.Get(key)
	if err == nil && len(v) != 8 {
		err = Damaged(l.path, fmt.Errorf("%s is not a number", key))
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// Applied is the index of the newest entry that took effect, now or before the
// file was opened; the end of that may not have been noted.
func (l *Log) Applied() uint64 { return l.applied.Load() }

// NoteApplied notes that the entries up to index took effect. It is kept with
// what is written next.
func (l *Log) NoteApplied(index uint64) {
	for {
		was := l.applied.Load()
		if index <= was || l.applied.CompareAndSwap(was, index) {
			return
		}
	}
}

// note changes the mark.
func (l *Log) note(change func(*mark)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.mark
	change(&next)
	next.applied = max(next.applied, l.applied.Load())
	if next == l.mark {
		return nil
	}
	err := l.guarded(func() error { return l.bolt.Set([]byte(markKey), next.encode()) })
	if err == nil {
		l.mark = next
	}
	return err
}

// Damaged reports whether something that was here is lost and not filled in again.
func (l *Log) Damaged() bool { _, _, m := l.span(); return m.damage != 0 }

// tookSnapshot notes that there is a snapshot up to index.
func (l *Log) tookSnapshot(index uint64) error {
	return l.note(func(m *mark) { m.snapshot = max(m.snapshot, index) })
}

// SetDamaged notes whether something that was here is lost.
func (l *Log) SetDamaged(yes bool) error {
	return l.note(func(m *mark) {
		m.damage = 0
		if yes {
			m.damage = 1
		}
	})
}

// Close notes what took effect, as well as it can, and closes the file.
func (l *Log) Close() error {
	_ = l.note(func(*mark) {}) // without it less is found at the next start, and a full disk is not a reason not to end
	return l.bolt.Close()
}
