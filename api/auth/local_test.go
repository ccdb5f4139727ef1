package auth

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/budget"
)

// dialAs connects as another user, on a thread of its own that
// ends with it.
func dialAs(t *testing.T, network, path string, uid, n int) []net.Conn {
	t.Helper()
	type result struct {
		conns []net.Conn
		err   error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: nobody else gets a thread that is another user's
		var r result
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
			r.err = e
		}
		for r.err == nil && len(r.conns) < n {
			var c net.Conn
			if c, r.err = net.Dial(network, path); r.err == nil {
				r.conns = append(r.conns, c)
			}
		}
		done <- r
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() {
		for _, c := range r.conns {
			c.Close()
		}
	})
	return r.conns
}

// TestALocalUserHoldsItsOwnPart: a user without rights who connects without end
// loses its own oldest connections; another user's and root's are left alone.
func TestALocalUserHoldsItsOwnPart(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it takes root to be other users")
	}
	dir, err := os.MkdirTemp("", "door") // t.TempDir is for this user alone
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	conns := budget.NewConns([3]budget.Limits{{Total: 40, Each: 20}, {}, {Total: 20, Each: 10}}, slog.New(slog.DiscardHandler), nil)
	held := conns.Listener(l, CallerOf)
	accepted := make(chan net.Conn, 1000)
	go func() {
		for {
			c, err := held.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	await := func(n int) {
		for range n {
			c := <-accepted
			t.Cleanup(func() { c.Close() })
		}
	}
	within := func(c net.Conn, wait time.Duration) bool {
		if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		_, err := c.Read(make([]byte, 1))
		return !errors.Is(err, os.ErrDeadlineExceeded)
	}
	ended := func(c net.Conn) bool { return within(c, time.Minute) }
	open := func(c net.Conn) bool { return !within(c, 10*time.Millisecond) }
	root := dialAs(t, "unix", path, 0, 2)
	await(2)
	other := dialAs(t, "unix", path, 1002, 2)
	await(2)
	flood := dialAs(t, "unix", path, 1001, 200)
	await(200)
	late := dialAs(t, "unix", path, 0, 1)
	await(1)
	for _, c := range append(append(root, other...), late...) {
		if !open(c) {
			t.Error("a flood of one user closed another's connection")
		}
	}
	if n := conns.Open(budget.Stranger); n != 22 || !ended(flood[0]) || !ended(flood[179]) || !open(flood[180]) || !open(flood[199]) {
		t.Errorf("%d connections of users without rights; the newest twenty should be left of the flood", n)
	}
	if n := conns.Open(budget.Trusted); n != 3 {
		t.Errorf("%d connections of root", n)
	}
}

// Root who shows a token is who the token says, at the socket and at the port of dev, and
// hears of one that is wrong; without one, or with what is not a token, it is root.
func TestRootWithATokenIsTheToken(t *testing.T) {
	for _, cred := range []Credentials{Unix, Open} {
		b, a := newAuth()
		viewer, secret := b.add(api.TokenRequest{Kind: api.TokenClient, Name: "ci", Role: api.RoleViewer})
		as := func(shown string) (Identity, error) {
			r := withHeader()
			r.Host = "localhost"
			if shown != "" {
				r.Header.Set("Authorization", shown)
			}
			ctx := context.WithValue(r.Context(), peerKey{}, uint32(0))
			ctx = context.WithValue(ctx, tcpKey{}, &tcpPeer{known: true})
			return a.Identify(r.WithContext(ctx), cred)
		}
		for _, none := range []string{"", "Basic cm9vdDo="} {
			if id, err := as(none); err != nil || id.Role != api.RoleAdmin || id.Local == "" {
				t.Errorf("by %v root with %q is %+v, %v", cred, none, id, err)
			}
		}
		if id, err := as("bearer " + secret); err != nil || id != OfToken(viewer) {
			t.Errorf("by %v root with a token is %+v, %v", cred, id, err)
		}
		if id, err := as("Bearer " + secret + "x"); id.Known() || api.ErrorCode(err) != api.CodeNotAllowed || !strings.Contains(err.Error(), "MESITA_TOKEN") {
			t.Errorf("by %v root with a wrong token is %+v, %v", cred, id, err)
		}
		viewer.Expires = b.now.Add(-1)
		if id, err := as("Bearer " + secret); id.Known() || err == nil {
			t.Errorf("by %v root with a token that is over is %+v, %v", cred, id, err)
		}
	}
}
