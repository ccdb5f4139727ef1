package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// Root has a socket of its own, which nobody else can open, and all users have the
// other. A path that leaves no room for a second one is good for the first.
func TestLocalSockets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	for range 2 { // what a node leaves behind that died is replaced
		all, root, err := listenLocal(path)
		if err != nil {
			t.Fatal(err)
		}
		for p, mode := range map[string]os.FileMode{path: 0o666, api.RootSocket(path): 0o600} {
			if st, err := os.Stat(p); err != nil || st.Mode().Perm() != mode {
				t.Errorf("%s: %v, %v; want mode %o", p, st, err, mode)
			}
		}
		if _, _, err := listenLocal(path); api.ErrorCode(err) != api.CodeConflict {
			t.Errorf("beside a node that answers: %v", err)
		}
		for _, l := range []interface{ SetUnlinkOnClose(bool) }{all.(interface{ SetUnlinkOnClose(bool) }), root.(interface{ SetUnlinkOnClose(bool) })} {
			l.SetUnlinkOnClose(false)
		}
		all.Close()
		root.Close()
	}
	long := filepath.Join(dir, strings.Repeat("s", longestSocket-len(dir)-1))
	all, root, err := listenLocal(long)
	if err != nil || root != nil {
		t.Fatalf("a path of %d bytes: %v, %v", len(long), root, err)
	}
	all.Close()
	if _, _, err := listenLocal(long + "s"); err == nil {
		t.Error("a path longer than the kernel takes is taken")
	}
}
