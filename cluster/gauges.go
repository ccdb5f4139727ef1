package cluster

import (
	"time"

	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/cluster/doctor"
)

var _ server.Machine = local{}

// Raft tells metrics how Raft does here.
func (l local) Raft() server.RaftState {
	s := l.raft.Stats()
	return server.RaftState{State: s.State, Term: s.Term, Log: s.LastIndex, Commit: s.CommitIndex, Applied: s.AppliedIndex,
		Waiting: s.Waiting, Voters: len(l.raft.Voters())}
}

// CertificateEnds is when this node's own does.
func (l local) CertificateEnds() time.Time { return l.certs.Leaf().NotAfter }

// Disk is what is free where the data folder is.
func (l local) Disk() (free, total int64, err error) { return doctor.Room(l.dir.Path) }
