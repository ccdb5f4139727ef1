package datadir

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/ages"
	"github.com/mesita/mesita/cluster/consensus"
)

// TestBarredFolders: a folder on the way to the data that tasks of other users
// cannot pass is named.
func TestBarredFolders(t *testing.T) {
	top := t.TempDir()
	within := filepath.Join(top, "a", "b", "c")
	if err := errors.Join(os.MkdirAll(within, 0o711), os.Chmod(top, 0o711), os.Chmod(filepath.Dir(top), 0o711)); err != nil {
		t.Fatal(err)
	}
	for _, closed := range []string{"", filepath.Join(top, "a"), within} {
		if closed != "" {
			if err := os.Chmod(closed, 0o750); err != nil {
				t.Fatal(err)
			}
		}
		if got := Barred(within); got != closed {
			t.Errorf("%q is named, closed is %q", got, closed)
		}
	}
}

// No flipped bit makes what a node remembers of itself, how far it had come and
// whom it is part of, another memory. A program that knows of no checksum reads
// it, and what that one writes is read.
func TestFlippedBitsOfNodeFiles(t *testing.T) {
	d := &Dir{Path: t.TempDir()}
	n := &Node{NodeID: "n1", Name: "oak", ClusterID: "c", Cluster: "pine", GossipKey: []byte("0123456789abcdef0123456789abcdef"), Starts: 3,
		Raft: &consensus.Standing{}, Seeds: []string{"10.0.0.1:5050"}}
	pending := &Pending{Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{CACert: []byte("cert"), GossipKey: []byte("key")}}
	if err := d.Save(n); err != nil {
		t.Fatal(err)
	}
	if err := d.SavePending(pending); err != nil {
		t.Fatal(err)
	}
	for name, load := range map[string]func() (any, error){
		"node.json":        func() (any, error) { return d.Load() },
		"new-cluster.json": func() (any, error) { return d.LoadPending() },
	} {
		whole, err := os.ReadFile(d.File(name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := load()
		if err != nil {
			t.Fatal(err)
		}
		put := func(b []byte) {
			if err := os.WriteFile(d.File(name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for bit := range 8 * len(whole) {
			b := bytes.Clone(whole)
			b[bit/8] ^= 1 << (bit % 8)
			put(b)
			if _, err := load(); err == nil || !strings.Contains(err.Error(), d.File(name)+" is damaged") {
				t.Fatalf("bit %d of %s: %v", bit, name, err)
			}
		}
		old := map[string]any{}
		if err := json.Unmarshal(whole, &old); err != nil {
			t.Fatal(err)
		}
		delete(old, "crc") // it has no field for it
		b, err := json.Marshal(old)
		if err != nil {
			t.Fatal(err)
		}
		put(b)
		if got, err := load(); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s of an older program: %+v, %v, want %+v", name, got, err, want)
		}
	}
}

// A program that knows no ages must not take a folder of a later one into the
// first.
func TestFoldersOfALaterAgeAreNotForOlderPrograms(t *testing.T) {
	d := &Dir{Path: t.TempDir()}
	for _, c := range []struct {
		line   ages.Line
		format int
	}{{nil, dataFormat}, {ages.Line{{ID: "a"}}, dataFormat + 1}} {
		if err := d.Save(&Node{NodeID: "a1", Ages: c.line}); err != nil {
			t.Fatal(err)
		}
		if n, err := d.Load(); err != nil || n.Format != c.format {
			t.Errorf("a folder of %v has format %d, %v", c.line, n.Format, err)
		}
	}
	if err := d.write("node.json", &Node{NodeID: "a1", Format: ageFormat + 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Load(); api.ErrorCode(err) != api.CodeConflict {
		t.Errorf("a folder of a later program: %v", err)
	}
}
