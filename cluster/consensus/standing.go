package consensus

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/mesita/mesita/cluster/consensus/disk"
)

// Standing is how far a node had come: what it must hold at least when it
// starts again, or it has lost something.
type Standing struct {
	Term      uint64 `json:"term"`     // the newest that it took part in
	LastTerm  uint64 `json:"lastTerm"` // of its newest entry
	LastIndex uint64 `json:"lastIndex"`

	// Where the log ended before a leader had its end cut off: what it lacks up to
	// there is no loss.
	CutTerm  uint64 `json:"cutTerm,omitempty"`
	CutIndex uint64 `json:"cutIndex,omitempty"`
}

func (s Standing) cut() Standing { return Standing{LastTerm: s.CutTerm, LastIndex: s.CutIndex} }

// cutAt is the standing after the log ended as o says, which no longer matters
// once the log is beyond it.
func (s Standing) cutAt(o Standing) Standing {
	s.CutTerm, s.CutIndex = 0, 0
	if beyond := s.And(o); beyond.LastTerm != s.LastTerm || beyond.LastIndex != s.LastIndex {
		s.CutTerm, s.CutIndex = o.LastTerm, o.LastIndex
	}
	return s
}

// Behind reports whether a node with this standing has lost something that one
// with the other had.
func (s Standing) Behind(o Standing) bool {
	return s.Term < o.Term || s.LastTerm < o.LastTerm || s.LastTerm == o.LastTerm && s.LastIndex < o.LastIndex
}

// And is the least that both ask for.
func (s Standing) And(o Standing) Standing {
	out := Standing{Term: max(s.Term, o.Term), LastTerm: s.LastTerm, LastIndex: s.LastIndex}
	if c := cmp.Compare(o.LastTerm, s.LastTerm); c > 0 || c == 0 && o.LastIndex > s.LastIndex {
		out.LastTerm, out.LastIndex = o.LastTerm, o.LastIndex
	}
	return out
}

// standing is what is on disk.
func (s *stores) standing() (st Standing, err error) {
	if st.Term, err = s.stable.GetUint64([]byte(disk.KeyTerm)); err != nil && err.Error() != raftboltdb.ErrKeyNotFound.Error() {
		return st, fmt.Errorf("read the term: %w", err)
	}
	last, err := s.logs.LastIndex()
	if err != nil {
		return st, fmt.Errorf("read the end of the log: %w", err)
	}
	end, err := s.endsAt(last)
	st.LastTerm, st.LastIndex = end.LastTerm, end.LastIndex
	return st, err
}

// endsAt is the standing of a log that ends with an entry, or before it with a
// snapshot. The term is not part of it.
func (s *stores) endsAt(last uint64) (st Standing, err error) {
	var e raft.Log
	if last > 0 {
		if err := s.logs.GetLog(last, &e); err != nil && !errors.Is(err, raft.ErrLogNotFound) {
			return st, fmt.Errorf("read the end of the log: %w", err)
		}
	}
	st.LastTerm, st.LastIndex = e.Term, e.Index
	snaps, err := s.snaps.List()
	if err != nil {
		return st, fmt.Errorf("read the snapshots: %w", err)
	}
	if len(snaps) > 0 && snaps[0].Index > st.LastIndex {
		st.LastTerm, st.LastIndex = snaps[0].Term, snaps[0].Index
	}
	return st, nil
}

// Standing is how far this node has come.
func (n *Node) Standing() (Standing, error) { return n.stores.standing() }
