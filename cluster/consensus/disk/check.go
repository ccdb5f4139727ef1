package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// logState is what a look at a whole log file found.
type logState struct {
	first, last uint64 // the entries that count: those after the last gap
	below       uint64 // entries before it, up to this index, are superseded by a snapshot
	unsealed    bool   // some entries are of the program of before
	mark        mark
	marked      bool // mark is of the last change; else the program of before made that
}

// checkLog looks at all of a log file before it is opened for writing, given
// the index of the newest snapshot.
func checkLog(path string, snapshot uint64) (st *logState, err error) {
	st = new(logState)
	if info, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return st, nil // new
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = Damaged(path, r)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockWait}) // which locks it, and looks at no page but the first
	if err != nil {
		return nil, openError(path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	f, err := os.Open(path)
	if err != nil {
		return nil, openError(path, err)
	}
	defer f.Close()
	if err := st.look(f, db.Info().PageSize, snapshot); err != nil {
		return nil, Damaged(path, err)
	}
	return st, nil
}

func (st *logState) look(f *os.File, pageSize int, snapshot uint64) error {
	p, err := openPages(f, pageSize)
	if err != nil {
		return err
	}
	buckets, err := p.buckets()
	if err != nil || len(buckets) == 0 {
		return err
	}
	logs, votes := buckets[string(logBucket)], buckets[string(voteBucket)]
	if logs == nil || votes == nil || len(buckets) > 2 {
		return errors.New("the log or the votes are missing")
	}
	if err := st.lookAtLog(logs, snapshot); err != nil {
		return err
	}
	return st.lookAtMark(p.tx, votes, snapshot)
}

func (st *logState) lookAtLog(logs *bucket, snapshot uint64) error {
	var before raft.Log
	err := logs.ForEach(func(k, v []byte) error {
		var e raft.Log
		if len(k) != 8 {
			return errors.New("a key is no index")
		}
		index := binary.BigEndian.Uint64(k)
		sealed, err := parseRecord(v, &e)
		if err == nil && e.Index != index {
			err = fmt.Errorf("it is entry %d", e.Index)
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		switch {
		case before.Index+1 != index:
			st.below, st.first = before.Index, index
			if index-1 > snapshot {
				return fmt.Errorf("the entries from %d to %d are missing", max(before.Index, snapshot)+1, index-1)
			}
		case before.Term > e.Term:
			return fmt.Errorf("entry %d is of term %d, the one before of term %d", index, e.Term, before.Term)
		}
		if st.first == 0 {
			st.first = index
		}
		st.last, st.unsealed = index, st.unsealed || !sealed
		before = raft.Log{Index: index, Term: e.Term}
		return nil
	})
	return err
}

func (st *logState) lookAtMark(tx uint64, votes *bucket, snapshot uint64) error {
	err := votes.ForEach(func(k, v []byte) (err error) {
		if string(k) == markKey {
			st.mark, err = decodeMark(v)
		}
		return err
	})
	if err != nil {
		return err
	}
	if st.marked = st.mark.tx == tx; !st.marked {
		return nil
	}
	sum, err := votesSum(votes)
	if err != nil {
		return err
	}
	switch m := st.mark; {
	case sum != m.votes:
		return errors.New("the checksum of the votes is wrong")
	case st.first != m.first || st.last != m.last:
		return fmt.Errorf("it holds the entries from %d to %d, and there were those from %d to %d", st.first, st.last, m.first, m.last)
	case m.snapshot > max(st.last, snapshot):
		return fmt.Errorf("the newest whole snapshot is of entry %d, and there was one of entry %d", snapshot, m.snapshot)
	}
	return nil
}

// OpenLog opens the log file after a look at all of it, and seals what is not.
func OpenLog(path string, snapshot uint64) (*Log, error) {
	st, err := checkLog(path, snapshot)
	if err != nil {
		return nil, err
	}
	file := &Log{path: path, mark: st.mark}
	err = file.guarded(func() (err error) {
		file.db, err = bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: lockWait})
		return err
	})
	if err != nil {
		return nil, openError(path, err)
	}
	if err := file.begin(st, snapshot); err != nil {
		return nil, errors.Join(err, file.db.Close())
	}
	return file, nil
}

// begin makes a log what it has to be before it is used.
func (l *Log) begin(st *logState, snapshot uint64) error {
	if st.unsealed {
		if err := l.seal(st.first, st.last); err != nil {
			return fmt.Errorf("seal the raft log %s: %w", l.path, err)
		}
	}
	l.mark.first, l.mark.last, l.mark.snapshot = st.first, st.last, max(l.mark.snapshot, snapshot)
	err := l.change(func(tx *bbolt.Tx, _ *mark) error {
		for _, name := range [][]byte{logBucket, voteBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		if st.below != 0 {
			c := tx.Bucket(logBucket).Cursor()
			for k, _ := c.First(); k != nil && binary.BigEndian.Uint64(k) <= st.below; k, _ = c.First() {
				if err := c.Delete(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("open the raft log %s: %w", l.path, err)
	}
	return nil
}

// sealAtOnce is how many entries are sealed in one step.
const sealAtOnce = 512

// seal gives the entries that the program of before wrote their checksums.
func (l *Log) seal(from, to uint64) error {
	for from <= to {
		err := l.db.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(logBucket)
			for n := 0; from <= to && n < sealAtOnce; n++ {
				var e raft.Log
				k := indexKey(from)
				sealed, err := parseRecord(b.Get(k), &e)
				if err == nil && !sealed {
					var v []byte
					if v, err = appendRecord(nil, &e); err == nil {
						err = b.Put(k, v)
					}
				}
				if err != nil {
					return err
				}
				from++
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
