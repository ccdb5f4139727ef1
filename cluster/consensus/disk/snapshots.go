package disk

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
)

// Files of a snapshot, each in a folder of its own. Raft keeps a checksum of
// the state in meta.json; sealName holds one of meta.json, without which nobody
// would notice another index, term or member there. It is this disk's own.
const (
	snapshotDir = "snapshots"
	metaName    = "meta.json"
	sealName    = "meta.crc32c"
)

// Snapshots are raft's snapshots on disk, without those that are damaged.
type Snapshots struct {
	*raft.FileSnapshotStore
	dir  string // of the snapshots
	took func(index uint64) error
}

// openSnapshots opens the snapshots of a raft folder, and seals those of the
// program of before. It returns the index of the newest that is whole, and
// fails if there are some and none is.
func openSnapshots(c Config) (*Snapshots, uint64, error) {
	files, err := raft.NewFileSnapshotStoreWithLogger(c.Dir, c.Snapshots, c.RaftLog)
	if err != nil {
		return nil, 0, fmt.Errorf("open the snapshots in %s: %w", c.Dir, err)
	}
	s := &Snapshots{FileSnapshotStore: files, dir: filepath.Join(c.Dir, snapshotDir), took: func(uint64) error { return nil }}
	newest, broken, err := s.check(c.Log)
	if err == nil && newest == 0 {
		err = broken
	}
	return s, newest, err
}

// check looks for the newest snapshot that is whole; broken is why a newer one,
// or one that cannot even be told the age of, is not.
func (s *Snapshots) check(log *slog.Logger) (newest uint64, broken, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, nil, fmt.Errorf("read the snapshots: %w", err)
	}
	listed, err := s.FileSnapshotStore.List()
	if err != nil {
		return 0, nil, fmt.Errorf("read the snapshots: %w", err)
	}
	var names []string // those that raft would take, newest first, then the others
	for _, m := range listed {
		names = append(names, m.ID)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasSuffix(e.Name(), ".tmp") && !slices.Contains(names, e.Name()) {
			names = append(names, e.Name())
		}
	}
	for _, name := range names {
		meta, err := s.verify(name)
		if err == nil {
			return meta.Index, broken, nil
		}
		broken = errors.Join(broken, err)
		log.Error("a snapshot of the cluster's state cannot be used", "err", err)
	}
	return 0, broken, nil
}

// verify reads a snapshot and compares all checksums; it seals one that was not.
func (s *Snapshots) verify(name string) (*raft.SnapshotMeta, error) {
	if err := s.checkSeal(name); err != nil {
		return nil, err
	}
	meta, r, err := s.FileSnapshotStore.Open(name) // which reads all of it
	if err != nil {
		return nil, Damaged(filepath.Join(s.dir, name), err)
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	if meta.ID != name {
		return nil, Damaged(filepath.Join(s.dir, name, metaName), fmt.Errorf("it is of snapshot %.80q", meta.ID))
	}
	return meta, s.seal(name)
}

// checkSeal compares meta.json with its checksum, if it has one.
func (s *Snapshots) checkSeal(name string) error {
	path := filepath.Join(s.dir, name, metaName)
	want, err := os.ReadFile(filepath.Join(s.dir, name, sealName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the checksum of %s: %w", path, err)
	}
	got, err := metaSeal(path)
	if err == nil && !bytes.Equal(got, want) {
		err = Damaged(path, "the checksum is wrong")
	}
	return err
}

func metaSeal(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read what a snapshot is: %w", err)
	}
	return fmt.Appendf(nil, "%08x\n", crc32.Checksum(b, castagnoli)), nil
}

func (s *Snapshots) seal(name string) error {
	path := filepath.Join(s.dir, name, sealName)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	b, err := metaSeal(filepath.Join(s.dir, name, metaName))
	if err != nil {
		return err
	}
	if err := WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("seal a snapshot: %w", err)
	}
	return nil
}

// List tells of the snapshots that are whole as far as their meta.json tells.
func (s *Snapshots) List() ([]*raft.SnapshotMeta, error) {
	all, err := s.FileSnapshotStore.List()
	var out []*raft.SnapshotMeta
	for _, m := range all {
		if s.checkSeal(m.ID) == nil {
			out = append(out, m)
		}
	}
	return out, err
}

// Open opens a snapshot, after a look at all of it.
func (s *Snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if err := s.checkSeal(id); err != nil {
		return nil, nil, err
	}
	return s.FileSnapshotStore.Open(id)
}

// Create begins a snapshot.
func (s *Snapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.FileSnapshotStore.Create(version, index, term, c, ci, t)
	if err != nil {
		return nil, err
	}
	return &sealingSink{SnapshotSink: sink, of: s, index: index}, nil
}

// sealingSink seals a snapshot once it is complete.
type sealingSink struct {
	raft.SnapshotSink
	of    *Snapshots
	index uint64
	ended bool
}

func (k *sealingSink) Cancel() error {
	k.ended = true
	return k.SnapshotSink.Cancel()
}

func (k *sealingSink) Close() error {
	if err := k.SnapshotSink.Close(); err != nil || k.ended {
		return err
	}
	k.ended = true
	if err := k.of.seal(k.ID()); err != nil {
		return err
	}
	return k.of.took(k.index)
}
