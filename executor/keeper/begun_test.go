package keeper

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// joined are the two ends of a connection.
func joined(t *testing.T) (ours, theirs *conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		c, err := net.FileConn(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		ends[i] = newConn(c.(*net.UnixConn))
	}
	return ends[0], ends[1]
}

// Who asked for a command is handed its streams once it has begun, or takes long
// to, and never once it is known that it did not; each once.
func TestWhenACommandIsHandedOver(t *testing.T) {
	says := func(t *testing.T, c *conn, m *message) {
		t.Helper()
		b, err := encode(nil, m)
		if err == nil {
			_, err = c.sock.Write(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := &message{Op: opAnswer, Error: toWire(ErrProgram)}
	ended := &message{Op: opAnswer, Executed: &ExecResult{Code: 3}}
	for name, c := range map[string]struct {
		keeper func(t *testing.T, c *conn, handed <-chan struct{})
		times  int
		long   bool
	}{
		"it did not begin": {func(t *testing.T, c *conn, _ <-chan struct{}) { says(t, c, refused) }, 0, false},
		"it began": {func(t *testing.T, c *conn, handed <-chan struct{}) {
			says(t, c, &message{Op: opBegun})
			<-handed
			says(t, c, ended)
		}, 1, false},
		"it takes long, and does not begin": {func(t *testing.T, c *conn, handed <-chan struct{}) { <-handed; says(t, c, refused) }, 1, true},
		"it takes long, and begins": {func(t *testing.T, c *conn, handed <-chan struct{}) {
			<-handed
			says(t, c, &message{Op: opBegun})
			says(t, c, ended)
		}, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := joined(t)
			handed := make(chan struct{}, 9)
			begin := &beginning{do: func() error { handed <- struct{}{}; return nil }, patience: time.Hour}
			if c.long {
				begin.patience = time.Millisecond
			}
			told := make(chan struct{}, 9) // handed, seen by the keeper
			times := 0
			var m *message
			var err error
			done := make(chan struct{})
			go func() {
				defer close(done)
				m, err = ours.outcome(begin)
				err = errors.Join(err, begin.over(m != nil && m.Executed != nil))
			}()
			go func() {
				for range handed {
					times++
					told <- struct{}{}
				}
				close(told)
			}()
			c.keeper(t, theirs, told)
			<-done
			close(handed)
			for range told { // until all were counted
			}
			if err != nil || m == nil || times != c.times {
				t.Errorf("handed over %d times, not %d: %+v, %v", times, c.times, m, err)
			}
		})
	}
}
