package consensus

import (
	"fmt"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/cluster/consensus/disk"
)

// stores is where Raft keeps what must survive.
type stores struct {
	logs   raft.LogStore
	stable raft.StableStore
	snaps  raft.SnapshotStore
	file   *disk.Log // nil if the stores were given

	setDamaged func(bool) error // of file, or nil
}

// openStores opens the folder, or takes the stores that were given.
func openStores(cfg *Config) (*stores, error) {
	if cfg.LogStore != nil {
		return &stores{logs: cfg.LogStore, stable: cfg.StableStore, snaps: cfg.SnapshotStore}, nil
	}
	file, snaps, err := disk.Open(disk.Config{Dir: cfg.Dir, NodeID: cfg.NodeID, Snapshots: snapshotsKept, Log: cfg.Log, RaftLog: newLogBridge(cfg.Log)})
	if err != nil {
		return nil, err
	}
	return &stores{logs: file, stable: file, snaps: snaps, file: file, setDamaged: file.SetDamaged}, nil
}

// noteDamage keeps whether something that was here is lost.
func (s *stores) noteDamage(yes bool) error {
	if s.setDamaged == nil {
		return nil
	}
	if err := s.setDamaged(yes); err != nil {
		return fmt.Errorf("note whether the raft log is damaged: %w", err)
	}
	return nil
}

func (s *stores) close() error {
	if s.file == nil {
		return nil
	}
	if err := s.file.Close(); err != nil {
		return fmt.Errorf("close the raft log: %w", err)
	}
	return nil
}
