package cluster

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
)

// What is in the way is refused with what to do about it, and changes nothing.
func TestStartIsRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	held, err := datadir.Open(filepath.Join(dir, "held"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	newer := filepath.Join(dir, "newer")
	if err := os.MkdirAll(newer, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(newer, "node.json"), []byte(`{"format":99}`), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	for _, c := range []struct {
		name string
		cfg  Config
		code api.Code
		text string
	}{
		{"port taken", Config{DataDir: filepath.Join(dir, "a"), Listen: taken.Addr().String(), Socket: socket}, api.CodeConflict, "taken by another program"},
		{"second node", Config{DataDir: filepath.Join(dir, "held"), Listen: "127.0.0.1:0", Socket: socket}, api.CodeConflict, "runs here already"},
		{"newer data", Config{DataDir: newer, Listen: "127.0.0.1:0", Socket: socket}, api.CodeConflict, "upgrade mesita"},
		{"http not on loopback", Config{DataDir: filepath.Join(dir, "b"), HTTP: "0.0.0.0:80", Socket: socket}, api.CodeInvalid, "loopback"},
		{"name", Config{DataDir: filepath.Join(dir, "b"), Name: "a b", Socket: socket}, api.CodeInvalid, "position"},
		{"resources", Config{DataDir: filepath.Join(dir, "b"), Resources: "cpus=x", Socket: socket}, api.CodeInvalid, "cores"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := New(c.cfg)
			if err == nil {
				err = a.Run(context.Background(), func(Ready) { t.Error("it became ready") })
			}
			if api.ErrorCode(err) != c.code || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v", err)
			}
			if _, err := os.Stat(filepath.Join(c.cfg.DataDir, "node.key")); err == nil {
				t.Error("a key was made")
			}
		})
	}
}
