package consensus

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus/disk"
	"github.com/mesita/mesita/fsm"
)

// Recovery is what Recover did.
type Recovery struct {
	Backup    string // folder with the raft folder as it was
	LastIndex uint64 // of the last entry that was kept
}

// Recover makes a cluster that lost its quorum for good work again, with this
// node, reachable at addr, as its only voter. It keeps all that this node has
// in its log, also what the cluster had not agreed on yet. The other voters of
// old would make a cluster of their own: begin has to see to it that they are
// told apart. The caller asks the user first.
//
// It copies the folder before it changes anything, and fails if the node runs,
// if the folder is not this node's, or if there is nothing to recover. It calls
// begin once nothing is in the way, before it changes the log. Of cfg only
// NodeID, Dir and Log are used.
func Recover(cfg Config, addr string, begin func() error) (*Recovery, error) {
	cfg.LogStore, cfg.StableStore, cfg.SnapshotStore, cfg.Stream = nil, nil, nil, nil
	cfg.Store = fsm.NewStore(nil)
	_, transport := raft.NewInmemTransport(raft.ServerAddress(addr))
	cfg.Transport = transport
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := MayRecover(cfg.Dir); err != nil {
		return nil, err
	}
	s, err := openStores(&cfg) // which locks it
	if err != nil {
		return nil, err
	}
	r, err := recoverStores(&cfg, s, addr, begin, transport)
	return r, errors.Join(err, s.close())
}

// MayRecover tells why a folder has nothing to recover, nil if it has a log.
func MayRecover(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, disk.LogName)); errors.Is(err, fs.ErrNotExist) {
		return api.Errorf(api.CodeNotFound, "there is no raft log in %s: this node never voted, recover on one that did", dir)
	}
	return nil
}

func recoverStores(cfg *Config, s *stores, addr string, begin func() error, transport raft.Transport) (*Recovery, error) {
	has, err := raft.HasExistingState(s.logs, s.stable, s.snaps)
	if err != nil {
		return nil, fmt.Errorf("look for what to recover: %w", err)
	}
	if !has {
		return nil, api.Errorf(api.CodeNotFound, "the raft log in %s is empty: this node never voted, recover on one that did", cfg.Dir)
	}
	r := &Recovery{Backup: cfg.Dir + ".bak-" + time.Now().UTC().Format("20060102T150405.000Z")}
	if err := copyDir(cfg.Dir, r.Backup); err != nil {
		return nil, fmt.Errorf("back up the raft folder: %w", err)
	}
	if err := begin(); err != nil {
		return nil, fmt.Errorf("begin the recovery: %w", err)
	}
	f := &recoverFSM{store: cfg.Store}
	err = raft.RecoverCluster(cfg.raftConfig(nil), f, s.logs, s.stable, s.snaps, transport, raft.Configuration{Servers: []raft.Server{
		{ID: raft.ServerID(cfg.NodeID), Address: raft.ServerAddress(addr)}}})
	if err != nil {
		return nil, fmt.Errorf("recover (nothing is lost, a copy of the folder is in %s): %w", r.Backup, err)
	}
	if err := s.file.SetDamaged(false); err != nil {
		return r, fmt.Errorf("recover: %w", err)
	}
	r.LastIndex = cfg.Store.View().Index()
	return r, nil
}

// recoverFSM applies the log for RecoverCluster, which does not look at the
// errors of entries: the snapshot at the end fails instead.
type recoverFSM struct {
	store *fsm.Store
	err   error
}

func (f *recoverFSM) Apply(l *raft.Log) any {
	if f.err == nil {
		_, f.err = f.store.Apply([]fsm.Entry{{Index: l.Index, Data: l.Data}})
	}
	return nil
}

func (f *recoverFSM) Snapshot() (raft.FSMSnapshot, error) {
	if f.err != nil {
		return nil, fmt.Errorf("apply the log: %w", f.err)
	}
	return persist{f.store.Snapshot()}, nil
}

func (f *recoverFSM) Restore(r io.ReadCloser) error { return f.store.Restore(r) }

// copyDir copies a folder so that it survives a power cut.
func copyDir(from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == from {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.Mkdir(dst, 0o700)
		case d.Type().IsRegular():
			return copyFile(path, dst)
		}
		return nil
	})
	return errors.Join(err, disk.SyncDir(to), disk.SyncDir(filepath.Dir(to)))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
