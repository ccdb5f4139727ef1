package disk

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// What the checksums cost: a log at its bound is opened and read, as at every
// start, and entries are written; by this program and by raft-boltdb, which the
// program of before used after a look at every page.
func BenchmarkLogFile(b *testing.B) {
	const trailingEntries, maxAppendEntries = 10240, 64 // as in package consensus
	const size = 128 << 20 / trailingEntries
	var es []*raft.Log
	for i := range uint64(trailingEntries) {
		es = append(es, &raft.Log{Index: i + 1, Term: 1, AppendedAt: epoch, Data: make([]byte, size)})
	}
	options := bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}
	stores := map[string]func(path string) (interface {
		raft.LogStore
		Close() error
	}, error){
		"sealed": func(path string) (interface {
			raft.LogStore
			Close() error
		}, error) {
			return OpenLog(path, 0)
		},
		"raft-boltdb": func(path string) (interface {
			raft.LogStore
			Close() error
		}, error) {
			if err := lookAtPages(path); err != nil {
				return nil, err
			}
			return raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &options})
		},
	}
	for name, open := range stores {
		path := filepath.Join(b.TempDir(), LogName)
		l, err := open(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("write-100B/"+name, func(b *testing.B) {
			last, err := l.LastIndex()
			if err != nil {
				b.Fatal(err)
			}
			for range b.N {
				last++
				if err := l.StoreLog(&raft.Log{Index: last, Term: 1, AppendedAt: epoch, Data: make([]byte, 100)}); err != nil {
					b.Fatal(err)
				}
			}
		})
		if err := l.DeleteRange(0, 1<<62); err != nil {
			b.Fatal(err)
		}
		for i := 0; i < len(es); i += maxAppendEntries {
			if err := l.StoreLogs(es[i : i+maxAppendEntries]); err != nil {
				b.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		b.Run("start/"+name, func(b *testing.B) {
			for range b.N {
				l, err := open(path)
				if err != nil {
					b.Fatal(err)
				}
				for i := range uint64(trailingEntries) {
					var e raft.Log
					if err := l.GetLog(i+1, &e); err != nil {
						b.Fatal(err)
					}
				}
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// lookAtPages is what the program of before did at a start.
func lookAtPages(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return nil // it is new
	}
	return errors.Join(db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(_, _ []byte) error { return nil })
		})
	}), db.Close())
}
