package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/lab"
)

// replica is what a stopped voter has on its disk, read without the node.
type replica struct {
	node  string
	first uint64 // of the log
	last  uint64
	logs  map[uint64]string // term, type and hash of each entry
	data  map[uint64][]byte // of the commands
	store *fsm.Store        // as the newest snapshot has it
}

func readReplica(n *lab.Node) (_ *replica, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("the raft folder of %s: %w", n.Name, err)
		}
	}()
	dir := filepath.Join(n.Dir, "raft")
	p := &replica{node: n.Name, logs: map[uint64]string{}, data: map[uint64][]byte{}, store: fsm.NewStore(nil)}
	bolt, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "raft.db"), BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: 5 * time.Second}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, bolt.Close()) }()
	if p.first, err = bolt.FirstIndex(); err != nil {
		return nil, err
	}
	if p.last, err = bolt.LastIndex(); err != nil {
		return nil, err
	}
	for i := p.first; i <= p.last && i > 0; i++ {
		var l raft.Log
		if err := bolt.GetLog(i, &l); err != nil {
			return nil, fmt.Errorf("entry %d of %d to %d: %w", i, p.first, p.last, err)
		}
		sum := sha256.Sum256(l.Data)
		p.logs[i] = fmt.Sprintf("term %d, type %d, %s", l.Term, l.Type, hex.EncodeToString(sum[:8]))
		if l.Type == raft.LogCommand {
			p.data[i] = l.Data
		}
	}
	return p, p.restore(dir)
}

// restore reads the newest snapshot, if there is one.
func (p *replica) restore(dir string) error {
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
	if p.last < list[0].Index {
		p.last = list[0].Index
	}
	return errors.Join(p.store.Restore(body), body.Close())
}

// at is the state at an index.
func (p *replica) at(index uint64) ([]byte, error) {
	for i := p.store.View().Index() + 1; i <= index; i++ {
		if data, ok := p.data[i]; ok {
			if _, err := p.store.Apply([]fsm.Entry{{Index: i, Data: data}}); err != nil {
				return nil, fmt.Errorf("%s: entry %d: %w", p.node, i, err)
			}
		}
	}
	var b bytes.Buffer
	err := p.store.Snapshot().Write(&b)
	return b.Bytes(), err
}

// sameIndex waits until all voters have applied what the leader has, and notes
// up to where.
func (r *run) sameIndex() {
	r.lab.Await(wellWithin, "all voters to be as far as the leader", func() bool {
		leader := r.lab.Leader()
		if leader == nil {
			return false
		}
		var top api.Health
		if leader.Call("GET", "/v1/health", nil, &top) != nil {
			return false
		}
		r.agreed, r.voters = top.Index, nil
		for _, m := range leader.Members() {
			if !strings.HasPrefix(m.Role, "voter") {
				continue
			}
			n := r.named(m.Name)
			var h api.Health
			if n.Call("GET", "/v1/health", nil, &h) != nil || h.Index < top.Index {
				return false
			}
			r.voters = append(r.voters, n)
		}
		return true
	})
}

func (r *run) named(name string) *lab.Node {
	for _, n := range r.nodes {
		if n.Name == name {
			return n
		}
	}
	r.stage.Fatalf("there is no node %q", name)
	return nil
}

// checkReplicas reads the logs of the voters: they are whole, the same entry is
// the same everywhere, and at the index that all had applied the states are
// equal.
func (r *run) checkReplicas() {
	var all []*replica
	for _, n := range r.voters {
		p, err := readReplica(n)
		switch {
		case err != nil:
			r.stage.Errorf("%v", err)
		case p.last < r.agreed || p.store.View().Index() > r.agreed:
			r.stage.Errorf("%s had applied %d, and its log ends with %d, its snapshot with %d", n.Name, r.agreed, p.last, p.store.View().Index())
		default:
			all = append(all, p)
		}
	}
	if want := wantVoters(len(r.nodes)); len(all) == want {
		r.sameLogs(all)
		r.sameStates(all)
	} else {
		r.stage.Errorf("%d replicas can be compared, want %d", len(all), want)
	}
}

func (r *run) sameLogs(all []*replica) {
	for i := all[0].first; i <= r.agreed; i++ {
		for _, p := range all[1:] {
			if a, b := all[0].logs[i], p.logs[i]; a != "" && b != "" && a != b {
				r.stage.Errorf("entry %d is %s on %s, and %s on %s", i, a, all[0].node, b, p.node)
				return
			}
		}
	}
}

func (r *run) sameStates(all []*replica) {
	var first []byte
	for i, p := range all {
		state, err := p.at(r.agreed)
		if err != nil {
			r.stage.Errorf("%v", err)
			return
		}
		if i == 0 {
			first = state
		} else if !bytes.Equal(first, state) {
			r.stage.Errorf("the states of %s and %s differ at index %d", all[0].node, p.node, r.agreed)
		}
	}
	r.stage.say("equal", "%d replicas at index %d, %d bytes", len(all), r.agreed, len(first))
}

// mounts lists those below the nodes' folders, but for their disks.
func (r *run) mounts() []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	r.must(err)
	var out []string
	for text := range strings.Lines(string(b)) {
		f := strings.Fields(text)
		for _, n := range r.nodes {
			if len(f) > 4 && strings.HasPrefix(f[4], n.Dir+"/") {
				out = append(out, f[4])
			}
		}
	}
	return out
}
