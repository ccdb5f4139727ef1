package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/mesita/mesita/executor/boltfile"
	"go.etcd.io/bbolt"
)

// logState is what a look at a whole log file found.
type logState struct {
	first, last uint64 // the entries that count: those after the last gap
	below       uint64 // entries before it, up to this index, are superseded by a snapshot
	applied     uint64 // index of the newest entry that took effect, as far as the seals say
	unsealed    bool   // some entries are of the program of before
	mark        mark
	votes       map[string][]byte // those of the program of before
}

// checkLog looks at all of a log file before it is opened for writing, given
// the index of the newest snapshot.
func checkLog(path string, snapshot uint64) (*logState, error) {
	st := new(logState)
	err := boltfile.Look(path, lockWait, func(f *boltfile.File) error { return st.look(f, snapshot) })
	if err != nil {
		return nil, openError(path, err)
	}
	return st, nil
}

func (st *logState) look(f *boltfile.File, snapshot uint64) error {
	buckets, err := f.Buckets()
	if err != nil || len(buckets) == 0 {
		return err
	}
	logs, votes := buckets[logBucket], buckets[voteBucket]
	if logs == nil || votes == nil || len(buckets) > 2 {
		return errors.New("the log or the votes are missing")
	}
	if err := st.lookAtLog(logs, snapshot); err != nil {
		return err
	}
	return st.lookAtVotes(votes, snapshot)
}

func (st *logState) lookAtLog(logs *boltfile.Bucket, snapshot uint64) error {
	var before raft.Log
	err := logs.ForEach(func(k, v []byte) error {
		var e raft.Log
		if len(k) != 8 {
			return errors.New("a key is not an index")
		}
		index := binary.BigEndian.Uint64(k)
		seal, err := parseRecord(v, &e)
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
		st.last, st.unsealed = index, st.unsealed || !seal.present
		st.applied = max(st.applied, seal.applied)
		before = raft.Log{Index: index, Term: e.Term}
		return nil
	})
	return err
}

// lookAtVotes checks the votes, and that all is there that the mark tells of.
func (st *logState) lookAtVotes(votes *boltfile.Bucket, snapshot uint64) error {
	st.votes = map[string][]byte{}
	err := votes.ForEach(func(k, v []byte) (err error) {
		if string(k) == markKey {
			st.mark, err = decodeMark(v)
			return err
		}
		val, sealed, err := openVote(k, v)
		if err != nil {
			return fmt.Errorf("the vote %.80q: %w", k, err)
		}
		if !sealed {
			st.votes[string(k)] = bytes.Clone(val)
		}
		return nil
	})
	if err != nil {
		return err
	}
	ends := max(st.last, snapshot)
	switch m := st.mark; {
	case m.snapshot > ends:
		return fmt.Errorf("the newest whole snapshot is of entry %d, and there was one of entry %d", snapshot, m.snapshot)
	case m.applied > ends:
		return fmt.Errorf("it ends with entry %d, and those up to %d took effect", ends, m.applied)
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
		file.bolt, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{
			NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: lockWait}})
		return err
	})
	if err != nil {
		return nil, openError(path, err)
	}
	if file.opened, err = os.Stat(path); err != nil {
		return nil, errors.Join(fmt.Errorf("open the raft log: %w", err), file.bolt.Close())
	}
	if err := file.begin(st, snapshot); err != nil {
		return nil, errors.Join(fmt.Errorf("open the raft log %s: %w", path, err), file.bolt.Close())
	}
	return file, nil
}

// begin makes a log what it has to be before it is used.
func (l *Log) begin(st *logState, snapshot uint64) error {
	if st.below != 0 {
		if err := l.guarded(func() error { return l.bolt.DeleteRange(0, st.below) }); err != nil {
			return err
		}
	}
	if st.unsealed {
		if err := l.seal(st.first, st.last); err != nil {
			return err
		}
	}
	for key, val := range st.votes {
		if err := l.Set([]byte(key), val); err != nil {
			return err
		}
	}
	l.first, l.last = st.first, st.last
	l.applied.Store(max(st.applied, st.mark.applied))
	return l.tookSnapshot(snapshot)
}

// sealAtOnce is how many entries are sealed in one step.
const sealAtOnce = 512

// seal gives the entries that the program of before wrote their seals. One that
// has its seal gets another: the program of before and this one took turns.
func (l *Log) seal(from, to uint64) error {
	for from <= to {
		var es []*raft.Log
		for ; from <= to && len(es) < sealAtOnce; from++ {
			e := new(raft.Log)
			if err := l.guarded(func() error { return l.bolt.GetLog(from, e) }); err != nil {
				return err
			}
			if _, err := unseal(e); err != nil {
				return fmt.Errorf("entry %d: %w", from, err)
			}
			es = append(es, e)
		}
		if err := l.put(es); err != nil {
			return err
		}
	}
	return nil
}
