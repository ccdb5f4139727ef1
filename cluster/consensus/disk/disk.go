package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/boltfile"
	berrors "go.etcd.io/bbolt/errors"
)

// format is the version of the raft folder.
const format = 1

// LogName is the file of the log and the votes in the folder.
const LogName = "raft.db"

// lockWait is how long another process may take to let go of the log.
const lockWait = 500 * time.Millisecond

// identity says whose folder it is, so that one node never continues with the
// votes of another.
type identity struct {
	NodeID string `json:"nodeID"`
	Format int    `json:"format"`
}

// Config says which folder to open.
type Config struct {
	Dir       string // made if it is not there
	NodeID    string // whose it must be
	Snapshots int    // how many are kept
	Log       *slog.Logger
	RaftLog   hclog.Logger
}

// Open opens a raft folder after a look at all that is in it. It fails if it is
// another node's, of a newer format, in use, or damaged.
func Open(c Config) (*Log, *Snapshots, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make the raft folder: %w", err)
	}
	if err := checkIdentity(c.Dir, c.NodeID); err != nil {
		return nil, nil, err
	}
	snaps, newest, err := openSnapshots(c)
	if err != nil {
		return nil, nil, err
	}
	log, err := OpenLog(filepath.Join(c.Dir, LogName), newest)
	if err != nil {
		return nil, nil, err
	}
	snaps.took = log.tookSnapshot
	return log, snaps, nil
}

// openError says what to do about a log that cannot be opened.
func openError(path string, err error) error {
	var known *api.Error
	var damage *boltfile.DamageError
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &damage):
		return Damaged(path, err)
	case errors.Is(err, berrors.ErrTimeout):
		return api.Errorf(api.CodeConflict, "the raft log %s is in use: a mesita node runs on it; stop it first", path)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return Damaged(path, err)
	}
	return fmt.Errorf("open the raft log %s: %w", path, err)
}

// Damaged is the error about a damaged file, and what to do about it.
func Damaged(path string, what any) error {
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
		return Damaged(path, err)
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
	return WriteFile(path, append(b, '\n'), 0o600)
}

// WriteFile writes a file so that a power cut leaves the old one or the new.
func WriteFile(path string, b []byte, mode os.FileMode) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// SyncDir makes what was made or renamed in a folder survive a power cut.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
