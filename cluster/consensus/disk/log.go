package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// Buckets of the log file, as raft-boltdb names them.
var (
	logBucket  = []byte("logs")
	voteBucket = []byte("conf")
)

// ErrNoValue is what raft expects for a key that was never set.
var ErrNoValue = errors.New("not found")

// Log is the log and the votes, in one bbolt file that raft-boltdb can read
// and write too. Every entry is sealed (see record) and every change renews the
// mark. The log has no gaps: entries below one are superseded by a snapshot, and
// go.
type Log struct {
	path    string
	db      *bbolt.DB
	applied atomic.Uint64 // see Applied

	mu   sync.Mutex
	mark mark
}

var (
	_ raft.LogStore    = (*Log)(nil)
	_ raft.StableStore = (*Log)(nil)
)

func indexKey(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }

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

func (l *Log) read(f func(*bbolt.Tx) error) error {
	return l.guarded(func() error { return l.db.View(f) })
}

// change writes, and renews the mark in the same step.
func (l *Log) change(f func(*bbolt.Tx, *mark) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.mark
	err := l.guarded(func() error {
		return l.db.Update(func(tx *bbolt.Tx) error {
			if err := f(tx, &next); err != nil {
				return err
			}
			return putMark(tx, &next, l.applied.Load())
		})
	})
	if err == nil {
		l.mark = next
	}
	return err
}

func putMark(tx *bbolt.Tx, m *mark, applied uint64) (err error) {
	votes := tx.Bucket(voteBucket)
	m.tx, m.applied = uint64(tx.ID()), max(m.applied, applied)
	if m.votes, err = votesSum(votes); err != nil {
		return err
	}
	return votes.Put([]byte(markKey), m.encode())
}

func (l *Log) now() mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mark
}

// FirstIndex is that of the oldest entry, 0 if there is none.
func (l *Log) FirstIndex() (uint64, error) { return l.now().first, nil }

// LastIndex is that of the newest entry, 0 if there is none.
func (l *Log) LastIndex() (uint64, error) { return l.now().last, nil }

// GetLog reads an entry, and checks that it is the one that was written.
func (l *Log) GetLog(index uint64, e *raft.Log) error {
	return l.read(func(tx *bbolt.Tx) error {
		v := tx.Bucket(logBucket).Get(indexKey(index))
		if v == nil {
			if m := l.now(); m.first != 0 && m.first <= index && index <= m.last {
				return Damaged(l.path, fmt.Errorf("entry %d is missing", index))
			}
			return raft.ErrLogNotFound
		}
		b := append(make([]byte, 0, len(v)), v...) // what bbolt returns ends with tx
		_, err := parseRecord(b, e)
		if err == nil && e.Index != index {
			err = fmt.Errorf("it is entry %d", e.Index)
		}
		if err != nil {
			return Damaged(l.path, fmt.Errorf("entry %d: %w", index, err))
		}
		return nil
	})
}

// StoreLog appends an entry.
func (l *Log) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs appends entries. Those before a gap go: raft leaves one only where
// it was fed a snapshot.
func (l *Log) StoreLogs(es []*raft.Log) error {
	return l.change(func(tx *bbolt.Tx, m *mark) error {
		b := tx.Bucket(logBucket)
		for _, e := range es {
			if err := l.makeRoom(b, m, e.Index); err != nil {
				return err
			}
			v, err := appendRecord(make([]byte, 0, len(e.Data)+128), e)
			if err == nil {
				err = b.Put(indexKey(e.Index), v)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// makeRoom notes that the entry with an index comes next.
func (l *Log) makeRoom(b *bbolt.Bucket, m *mark, index uint64) error {
	switch {
	case m.last != 0 && index == m.last+1:
	case m.last != 0 && index <= m.last:
		return fmt.Errorf("entry %d is in the raft log already", index)
	case index != 1 && index > m.snapshot+1:
		return fmt.Errorf("entry %d would leave a gap in the raft log after %d", index, max(m.last, m.snapshot))
	default:
		if err := deleteEntries(b, m.first, m.last); err != nil {
			return err
		}
		m.first = index
	}
	m.last = index
	return nil
}

func deleteEntries(b *bbolt.Bucket, from, to uint64) error {
	for i := from; i <= to && i != 0; i++ {
		if err := b.Delete(indexKey(i)); err != nil {
			return err
		}
	}
	return nil
}

// DeleteRange removes entries at either end.
func (l *Log) DeleteRange(from, to uint64) error {
	return l.change(func(tx *bbolt.Tx, m *mark) error {
		from, to := max(from, m.first), min(to, m.last)
		if m.last == 0 || from > to {
			return nil
		}
		if from != m.first && to != m.last {
			return fmt.Errorf("to remove the entries from %d to %d would leave a gap in the raft log", from, to)
		}
		if err := deleteEntries(tx.Bucket(logBucket), from, to); err != nil {
			return err
		}
		switch {
		case from == m.first && to == m.last:
			m.first, m.last = 0, 0
		case from == m.first:
			m.first = to + 1
		default:
			m.last = from - 1
		}
		return nil
	})
}

// Set keeps a value.
func (l *Log) Set(key, val []byte) error {
	return l.change(func(tx *bbolt.Tx, _ *mark) error { return tx.Bucket(voteBucket).Put(key, val) })
}

// Get reads a value.
func (l *Log) Get(key []byte) (out []byte, err error) {
	err = l.read(func(tx *bbolt.Tx) error {
		v := tx.Bucket(voteBucket).Get(key)
		if v == nil {
			return ErrNoValue
		}
		out = append([]byte{}, v...)
		return nil
	})
	return out, err
}

// SetUint64 keeps a number.
func (l *Log) SetUint64(key []byte, val uint64) error { return l.Set(key, indexKey(val)) }

// GetUint64 reads a number.
func (l *Log) GetUint64(key []byte) (uint64, error) {
	v, err := l.Get(key)
	if err == nil && len(v) != 8 {
		err = Damaged(l.path, fmt.Errorf("%s is no number", key))
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// tookSnapshot notes that there is a snapshot up to index.
func (l *Log) tookSnapshot(index uint64) error {
	return l.change(func(_ *bbolt.Tx, m *mark) error { m.snapshot = max(m.snapshot, index); return nil })
}

// Applied is the index of the newest entry that took effect, now or before the
// file was opened; the end of that may not have been noted.
func (l *Log) Applied() uint64 { return max(l.applied.Load(), l.now().applied) }

// NoteApplied notes that entries up to index took effect. It is kept with the
// next change.
func (l *Log) NoteApplied(index uint64) { l.applied.Store(index) }

// Damaged tells whether something that was here is lost and not filled in again.
func (l *Log) Damaged() bool { return l.now().damage != 0 }

// SetDamaged notes whether something that was here is lost.
func (l *Log) SetDamaged(yes bool) error {
	return l.change(func(_ *bbolt.Tx, m *mark) error {
		m.damage = 0
		if yes {
			m.damage = 1
		}
		return nil
	})
}

// Close closes the file.
func (l *Log) Close() error { return l.db.Close() }
