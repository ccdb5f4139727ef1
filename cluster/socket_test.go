package cluster

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

// A node that is too busy to let more in keeps its sockets, both of them, as does what is
// not a socket at all.
func TestASocketIsNotTakenFromItsNode(t *testing.T) {
	for _, busy := range []func(string) string{func(p string) string { return p }, api.RootSocket} {
		path := filepath.Join(t.TempDir(), "s")
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err == nil {
			err = errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: busy(path)}), syscall.Listen(fd, 0))
		}
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(fd)
		for {
			c, err := net.Dial("unix", busy(path))
			if errors.Is(err, syscall.EAGAIN) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		before, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := listenLocal(path); api.ErrorCode(err) != api.CodeConflict {
			t.Errorf("%s: %v", busy(path), err)
		}
		if after, err := os.ReadDir(filepath.Dir(path)); err != nil || len(after) != len(before) || after[0].Name() != before[0].Name() {
			t.Errorf("%s: %v, %v; want %v", busy(path), after, err, before)
		}
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := listenLocal(file); api.ErrorCode(err) != api.CodeInvalid {
		t.Errorf("a file: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "x" {
		t.Errorf("the file is %q, %v", b, err)
	}
}
