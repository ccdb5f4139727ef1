package client

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// TestACrowdAtTheSocket: where more wait at the node's socket than the kernel has
// room for, who keeps trying gets in once some were let in.
func TestACrowdAtTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		err = errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0))
	}
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), path)
	l, err := net.FileListener(f)
	if f.Close(); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	crowd := 0
	for ; ; crowd++ {
		c, err := net.Dial("unix", path)
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	done := make(chan error)
	go func() {
		c, err := dialSocket(t.Context(), new(net.Dialer), path)
		if err == nil {
			c.Close()
		}
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("it gave up: %v", err)
	case <-time.After(20 * time.Millisecond): // it has tried
	}
	for range crowd + 1 {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Root goes to root's own socket where there is one, and else to that of all users.
func TestRootHasItsOwnSocket(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, whose socket it is")
	}
	path := filepath.Join(t.TempDir(), "s")
	all, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	reaches := func() string {
		t.Helper()
		c, err := dialLocal(t.Context(), new(net.Dialer), path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.RemoteAddr().String()
	}
	if got := reaches(); got != path {
		t.Errorf("with one socket root is at %s", got)
	}
	own, err := net.Listen("unix", api.RootSocket(path))
	if err != nil {
		t.Fatal(err)
	}
	if got := reaches(); got != api.RootSocket(path) {
		t.Errorf("with one of its own root is at %s", got)
	}
	own.(*net.UnixListener).SetUnlinkOnClose(false)
	own.Close()
	if got := reaches(); got != path {
		t.Errorf("with one that nobody listens at root is at %s", got)
	}
}
