package datadir

import (
	"errors"
	"os"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus/disk"
)

const pendingFile = "new-cluster.json"

// Pending is a new cluster whose first log entry is not committed yet.
// It is kept in a file until then, so that a crash in between is not trouble.
type Pending struct {
	Cluster   *api.Cluster   `json:"cluster"`
	Authority *api.Authority `json:"authority"`
}

// LoadPending reads the new cluster; nil if there is none.
func (d *Dir) LoadPending() (*Pending, error) {
	p := new(Pending)
	found, err := d.read(pendingFile, p, "the cluster was never made, so remove the data folder "+d.Path+" and start again")
	if !found || err != nil {
		return nil, err
	}
	return p, nil
}

// SavePending writes the new cluster so that a power cut leaves all of it or nothing.
func (d *Dir) SavePending(p *Pending) error { return d.write(pendingFile, p) }

// RemovePending forgets the new cluster once its first entry is committed, also if
// the power fails: a node that makes its cluster asks nobody whether it lost
// something.
func (d *Dir) RemovePending() error {
	if err := os.Remove(d.File(pendingFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return disk.SyncDir(d.Path)
}
