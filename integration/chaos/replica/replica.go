// Package replica reads what a stopped voter has on its disk, without the node:
// the log and the newest snapshot, and the state that follows from them. It
// changes nothing; command integration/chaos compares replicas with it.
package replica

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/lab"
)

// Replica is the log and the snapshot of one voter.
type Replica struct {
	Node  string
	First uint64 // of the log
	Last  uint64
	Logs  map[uint64]string // term, type and hash of each entry
	data  map[uint64][]byte // of the commands
	store *fsm.Store        // as the newest snapshot has it
}

// Read reads the raft folder of a node that is stopped.
func Read(n *lab.Node) (_ *Replica, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("the raft folder of %s: %w", n.Name, err)
		}
	}()
	dir := filepath.Join(n.Dir, "raft")
	p := &Replica{Node: n.Name, Logs: map[uint64]string{}, data: map[uint64][]byte{}, store: fsm.NewStore(nil)}
	bolt, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "raft.db"), BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: 5 * time.Second}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, bolt.Close()) }()
	if p.First, err = bolt.FirstIndex(); err != nil {
		return nil, err
	}
	if p.Last, err = bolt.LastIndex(); err != nil {
		return nil, err
	}
	for i := p.First; i <= p.Last && i > 0; i++ {
		var l raft.Log
		if err := bolt.GetLog(i, &l); err != nil {
			return nil, fmt.Errorf("entry %d of %d to %d: %w", i, p.First, p.Last, err)
		}
		sum := sha256.Sum256(l.Data)
		p.Logs[i] = fmt.Sprintf("term %d, type %d, %s", l.Term, l.Type, hex.EncodeToString(sum[:8]))
		if l.Type == raft.LogCommand {
			p.data[i] = l.Data
		}
	}
	return p, p.restore(dir)
}

// restore reads the newest snapshot, if there is one.
func (p *Replica) restore(dir string) error {
	snaps, err := raft.NewFileSnapshotStore(dir, 1, io.Discard)
	if err != nil {
		return err
	}
	list, err := snaps.List()
	if err != nil || len(list) == 0 {
		return err
	}
	_, body, err := snaps.Open(list[0].ID)
	if err != nil {
		return err
	}
	if p.Last < list[0].Index {
		p.Last = list[0].Index
	}
	return errors.Join(p.store.Restore(body), body.Close())
}

// At is the state at an index, not before that of the snapshot.
func (p *Replica) At(index uint64) ([]byte, error) {
	for i := p.store.View().Index() + 1; i <= index; i++ {
		if data, ok := p.data[i]; ok {
			if _, err := p.store.Apply([]fsm.Entry{{Index: i, Data: data}}); err != nil {
				return nil, fmt.Errorf("%s: entry %d: %w", p.Node, i, err)
			}
		}
	}
	var b bytes.Buffer
	err := p.store.Snapshot().Write(&b)
	return b.Bytes(), err
}

// Snapshot is the index of the newest snapshot; 0 without one.
func (p *Replica) Snapshot() uint64 { return p.store.View().Index() }
