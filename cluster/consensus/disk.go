package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/mesita/mesita/api"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// format is the version of the raft folder.
const format = 1

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
	closer io.Closer
}

func (s *stores) close() error {
	if s.closer == nil {
		return nil
	}
	if err := s.closer.Close(); err != nil {
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
	bolt, err := openLog(cfg.Dir)
	if err != nil {
		return nil, err
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(cfg.Dir, snapshotsKept, newLogBridge(cfg.Log))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the snapshots in %s: %w", cfg.Dir, err), bolt.Close())
	}
	return &stores{logs: bolt, stable: bolt, snaps: snaps, closer: bolt}, nil
}

func openLog(dir string) (bolt *raftboltdb.BoltStore, err error) {
	path := filepath.Join(dir, "raft.db")
	defer func() {
		if r := recover(); r != nil { // bbolt's way to say that a page is damaged
			err = damaged(path, r)
		}
	}()
	if err := checkLog(path); err != nil {
		return nil, err
	}
	bolt, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{
		NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: lockWait}})
	if err != nil {
		return nil, openError(path, err)
	}
	return bolt, nil
}

// openError says what to do about a log that cannot be opened.
func openError(path string, err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return api.Errorf(api.CodeConflict, "the raft log %s is in use: a mesita node runs on it; stop it first", path)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return damaged(path, err)
	}
	return fmt.Errorf("open the raft log %s: %w", path, err)
}

// checkLog looks at every page of the log before it is opened for writing.
// bbolt panics on a damaged page, and then it does so in a goroutine of its
// own, where nothing could stop the program from crashing.
func checkLog(path string) (err error) {
	if st, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && st.Size() == 0 {
		return nil // new
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // an offset may lead out of the file
	defer func() {
		if r := recover(); r != nil {
			err = damaged(path, r)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockWait})
	if err != nil {
		return openError(path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.Begin(false)
	if err != nil {
		return openError(path, err)
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
		return b.ForEach(func(_, _ []byte) error { return nil })
	})
}

func damaged(path string, what any) error {
	return api.Errorf(api.CodeFailed, "%s is damaged (%v): restore it from a backup, or move the data folder away and let this node join again", path, what)
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
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write whose raft folder it is: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write whose raft folder it is: %w", err)
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
