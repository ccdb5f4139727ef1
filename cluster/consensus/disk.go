package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
	berrors "go.etcd.io/bbolt/errors"
)

// format is the version of the raft folder.
const format = 1

// logName is the file of the log and the votes.
const logName = "raft.db"

// lockWait is how long another process may take to let go of the log.
const lockWait = 500 * time.Millisecond

// identity says whose folder it is, so that one node never goes on with the
// votes of another.
type identity struct {
	NodeID string `json:"nodeID"`
	Format int    `json:"format"`
}

// stores is where Raft keeps what must survive.
type stores struct {
	logs   raft.LogStore
	stable raft.StableStore
	snaps  raft.SnapshotStore
	file   *logFile // nil if the stores were given
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

// openStores opens the folder, or takes the stores that were given.
func openStores(cfg *Config) (*stores, error) {
	if cfg.LogStore != nil {
		return &stores{logs: cfg.LogStore, stable: cfg.StableStore, snaps: cfg.SnapshotStore}, nil
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the raft folder: %w", err)
	}
	if err := checkIdentity(cfg.Dir, cfg.NodeID); err != nil {
		return nil, err
	}
	snaps, newest, err := openSnapshots(cfg.Dir, cfg.Log)
	if err != nil {
		return nil, err
	}
	file, err := openLog(filepath.Join(cfg.Dir, logName), newest)
	if err != nil {
		return nil, err
	}
	snaps.took = file.tookSnapshot
	return &stores{logs: file, stable: file, snaps: snaps, file: file}, nil
}

// openError says what to do about a log that cannot be opened.
func openError(path string, err error) error {
	var known *api.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, berrors.ErrTimeout):
		return api.Errorf(api.CodeConflict, "the raft log %s is in use: a mesita node runs on it; stop it first", path)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return damaged(path, err)
	}
	return fmt.Errorf("open the raft log %s: %w", path, err)
}

func damaged(path string, what any) error {
	return api.Errorf(api.CodeFailed, "%s is damaged (%v): move the folder raft of this node away and start it again: the other voters fill it anew, and it does not vote before; the only voter of a cluster needs its backup", path, what)
}

// checkIdentity makes sure that the folder is this node's, and makes it so if
// it is new.
func checkIdentity(dir, nodeID string) error {
	path := filepath.Join(dir, "identity")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return writeIdentity(path, identity{NodeID: nodeID, Format: format})
	}
	if err != nil {
		return fmt.Errorf("read whose raft folder it is: %w", err)
	}
	var id identity
	if err := json.Unmarshal(b, &id); err != nil {
		return damaged(path, err)
	}
	if id.Format > format {
		return api.Errorf(api.CodeConflict, "the raft folder %s has format %d, this program reads up to %d: upgrade mesita on this node", dir, id.Format, format)
	}
	if id.NodeID != nodeID {
		return api.Errorf(api.CodeConflict, "the raft folder %s is of node %s, and this is node %s: use the data folder of this node", dir, id.NodeID, nodeID)
	}
	return nil
}

func writeIdentity(path string, id identity) error {
	b, err := json.Marshal(id)
	if err != nil {
		return err
	}
	if err := writeSynced(path, append(b, '\n')); err != nil {
		return fmt.Errorf("write whose raft folder it is: %w", err)
	}
	return nil
}

// writeSynced writes a file so that a power cut leaves the old one or the new.
func writeSynced(path string, b []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
