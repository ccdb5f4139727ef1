package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/ages"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/cluster/consensus/disk"
	"github.com/mesita/mesita/executor/sealed"
	"golang.org/x/sys/unix"
)

// dataFormat is the version of the data folder's layout. A folder of a later age
// has the next one: a program that knows no ages would take it into the first.
const (
	dataFormat = 1
	ageFormat  = 2
)

// nodeFile is what a node remembers of itself, in node.json.
type nodeFile struct {
	Format    int      `json:"format"`
	NodeID    string   `json:"nodeID"`
	Name      string   `json:"name"`
	ClusterID string   `json:"clusterID"`
	Cluster   string   `json:"cluster"`
	VoterOnly bool     `json:"voterOnly,omitempty"`
	Boot      string   `json:"boot"`
	Addr      string   `json:"addr,omitempty"`  // that the last start told the others
	Seeds     []string `json:"seeds,omitempty"` // where the others were when last seen
	GossipKey []byte   `json:"gossipKey"`

	GossipStep uint64   `json:"gossipStep,omitempty"` // of the change of that key
	GossipAlso [][]byte `json:"gossipAlso,omitempty"` // keys that are taken as well
	KeeperKey  []byte   `json:"keeperKey,omitempty"`  // what the keepers' keys are derived from; nil = GossipKey

	CAStep uint64 `json:"caStep,omitempty"` // of the change of the CA's key that this node has done

	Starts uint64 `json:"starts,omitempty"` // how often this folder was started
	// An older program, which an upgrade was taken back to, dropped the count: what
	// others saw may be more, until they were asked.
	Uncounted bool `json:"uncounted,omitempty"`

	Level int `json:"level,omitempty"` // of the cluster, at least: what a node may do follows from it before anybody is asked

	Started uint64 `json:"started,omitempty"` // what the last start told as its time, in nanoseconds

	// How far this node had come in Raft, at least; nil = it never took part. It
	// is outside of the raft folder, so that one that was lost is noticed.
	Raft    *consensus.Standing `json:"raft,omitempty"`
	Ages    ages.Line           `json:"ages,omitempty"`    // of the cluster, as this node is part of it
	Refill  bool                `json:"refill,omitempty"`  // the raft folder is of another age: to be put aside
	Odd     bool                `json:"odd,omitempty"`     // the raft folder holds another state than those of the other voters: to be put aside
	Demoted bool                `json:"demoted,omitempty"` // this node may vote no more: the raft folder, which has the CA's key, is to be erased
}

// dataDir is the locked data folder of one node.
type dataDir struct {
	path string
	lock *os.File
}

// barred is the folder, at or above a path, that only its owner's group and root
// may pass, "" if none is: tasks of other users could not enter what is theirs.
func barred(path string) string {
	for ; ; path = filepath.Dir(path) {
		if fi, err := os.Stat(path); err != nil || fi.Mode()&0o001 == 0 {
			return path
		}
		if path == filepath.Dir(path) {
			return ""
		}
	}
}

// openDataDir makes the folder if needed and locks it, so that one daemon at a
// time uses it.
func openDataDir(path string) (*dataDir, error) {
	// Tasks of other users have their working folders below it; what is secret has
	// a mode of its own.
	if err := os.MkdirAll(path, 0o711); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder := make([]byte, 32)
		n, _ := f.ReadAt(holder, 0)
		_ = f.Close() // it was only read
		return nil, api.Errorf(api.CodeConflict, "a mesita node runs here already (pid %s, data %s): stop it first, or give another --data", strings.TrimSpace(string(holder[:n])), path)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // for the message above only
	}
	return &dataDir{path, f}, nil
}

// inUse tells whether a daemon runs with the data folder at path.
func inUse(path string) bool {
	f, err := os.Open(filepath.Join(path, "lock"))
	if err != nil {
		return false
	}
	defer f.Close() // and with it the lock
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}

func (d *dataDir) close() error { return d.lock.Close() }

func (d *dataDir) file(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// load reads node.json; nil if this folder has none yet.
func (d *dataDir) load() (*nodeFile, error) {
	n := new(nodeFile)
	found, err := d.read("node.json", n, "restore it from a backup, or move the data folder away and join again")
	if !found || err != nil {
		return nil, err
	}
	if n.Format > ageFormat {
		return nil, api.Errorf(api.CodeConflict, "the data folder %s has format %d, this program reads up to %d: upgrade mesita on this node", d.path, n.Format, ageFormat)
	}
	return n, nil
}

// save writes node.json so that a power cut leaves the old or the new one.
func (d *dataDir) save(n *nodeFile) error {
	n.Format = dataFormat
	if len(n.Ages) > 0 {
		n.Format = ageFormat
	}
	return d.write("node.json", n)
}

// read reads a file that write wrote, or an older program without a checksum.
func (d *dataDir) read(name string, v any, remedy string) (found bool, err error) {
	b, err := os.ReadFile(d.file(name))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read what this node remembers of itself: %w", err)
	}
	if _, _, err = sealed.Check(b); err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return false, api.Errorf(api.CodeFailed, "%s is damaged (%v): %s", d.file(name), err, remedy)
	}
	return true, nil
}

func (d *dataDir) write(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	b, _ = sealed.Add(b)
	return disk.WriteFile(d.file(name), b, 0o600)
}

// removePending forgets the new cluster once its first entry is committed, also if
// the power fails: a node that makes its cluster asks nobody whether it lost
// something.
func (d *dataDir) removePending() error {
	if err := os.Remove(d.file("new-cluster.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return disk.SyncDir(d.path)
}
