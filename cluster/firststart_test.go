package cluster

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/tlsconf"
)

// contents is all that is in a folder, by path.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == "lock" {
			return err
		}
		if d.IsDir() {
			out[path] = "folder"
			return nil
		}
		b, err := os.ReadFile(path)
		out[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func newAgent(t *testing.T) *Agent {
	t.Helper()
	cfg, err := Config{DataDir: t.TempDir()}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	d, err := datadir.Open(cfg.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return &Agent{cfg: cfg, log: cfg.Log, dir: d}
}

// A folder in which anything of a node is left, but not its node.json, is not
// a new one: a start, or a join, changes nothing in it and says what to do.
func TestLeftoversAreNoNewNode(t *testing.T) {
	for _, left := range append([]string{"node.crt", "ca.crt"}, ranFiles...) {
		for _, join := range []bool{false, true} {
			if join && (left == "node.crt" || left == "ca.crt") {
				continue // a join that was cut short is made again
			}
			t.Run(left, func(t *testing.T) {
				a := newAgent(t)
				if join {
					a.cfg.JoinAddrs = []string{"127.0.0.1:1"}
				}
				if err := os.WriteFile(a.dir.File(left), []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
				before := contents(t, a.dir.Path)
				_, err := a.identify(t.Context())
				if api.ErrorCode(err) != api.CodeConflict || !strings.Contains(err.Error(), left) || !strings.Contains(err.Error(), "backup") {
					t.Errorf("%v", err)
				}
				if after := contents(t, a.dir.Path); len(after) != len(before) {
					t.Errorf("the folder holds %v now", after)
				}
			})
		}
	}
}

// A node whose key is lost gets no new one.
func TestLostKeyIsNotReplaced(t *testing.T) {
	a := agentIn(t, datadir.Node{NodeID: "a1", Name: "fir", Cluster: "pine"})
	if _, err := a.identify(t.Context()); api.ErrorCode(err) != api.CodeConflict || !strings.Contains(err.Error(), "node.key is gone") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(a.dir.File("node.key")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key was made: %v", err)
	}
}

// A first start that is cut short between any two of its files is finished by
// the next one, as the same cluster.
func TestFirstStartCutShort(t *testing.T) {
	whole := newAgent(t)
	if _, err := whole.identify(t.Context()); err != nil {
		t.Fatal(err)
	}
	order := []string{"node.key", "new-cluster.json", "ca.crt", "node.crt", "node.json"}
	if _, err := whole.dir.Load(); err != nil {
		t.Fatal(err)
	}
	for n := range len(order) + 1 {
		a := newAgent(t)
		for _, name := range order[:n] {
			b, err := os.ReadFile(whole.dir.File(name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(a.dir.File(name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		key, err := a.identify(t.Context())
		if err != nil {
			t.Errorf("after %v: %v", order[:n], err)
			continue
		}
		made, err := (tlsconf.Files{Dir: whole.dir.Path}).LoadKey()
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 && key.ID() != made.ID() || n > 1 && a.self.ClusterID != whole.self.ClusterID || a.pending == nil {
			t.Errorf("after %v it is another node or cluster: %+v", order[:n], a.self)
		}
	}
}
