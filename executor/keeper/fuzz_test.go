package keeper

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fed is a connection on which the other side has sent all of b, and left.
func fed(t *testing.T, b []byte) *net.UnixConn {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
	}
	go func() {
		_, _ = ends[0].Write(b) // the reader may break off
		_ = ends[0].CloseWrite()
		_, _ = io.Copy(io.Discard, ends[0])
	}()
	return ends[1]
}

func frames(f *testing.F, all ...*message) {
	f.Helper()
	var together []byte
	for _, m := range all {
		b, err := encode(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		together = append(together, b...)
	}
	f.Add(together)
	f.Add(binary.BigEndian.AppendUint32(nil, maxMessage+1))
	f.Add(together[:len(together)-1])
}

// FuzzRequests: whatever a daemon of any version sends, the keeper lives on. What
// starts processes or listens is only looked at.
func FuzzRequests(f *testing.F) {
	frames(f, &message{Op: opHello, Hello: &hello{Version: 1, MinVersion: 1, Main: true}},
		&message{Op: opStart, Seq: 1, Start: &StartRequest{ID: "a.0/1"}}, &message{Op: opStart}, &message{Op: opExec}, &message{Op: opVouch},
		&message{Op: opSignal, ID: "ended.0/1", Signal: 15}, &message{Op: opKill, ID: "lost.0/1"}, &message{Op: opStats, ID: "ended.0/1"},
		&message{Op: opStats, IDs: []string{"ended.0/1", "x"}}, &message{Op: opStats, IDs: make([]string, statsAtOnce+1)},
		&message{Op: opFreeze, ID: "lost.0/1"}, &message{Op: opThaw, ID: "ended.0/1"}, &message{Op: opForget, IDs: []string{"ended.0/1", "x"}},
		&message{Op: opDeny, Names: []uint64{1, 2}}, &message{Op: opDenied}, &message{Op: opList}, &message{Op: "new"})
	quiet := slog.New(slog.DiscardHandler)
	dir := f.TempDir() // a folder each time costs more than all else
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.Remove(filepath.Join(dir, ledgerFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		s, err := newServer(Config{Dir: dir, Log: quiet, Idle: time.Hour, Orphaned: time.Hour}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range []Status{{ID: "ended.0/1", State: Ended}, {ID: "lost.0/1", State: Lost}} {
			s.known[st.ID] = pastTask(st)
		}
		c := newConn(fed(t, b))
		for {
			m, err := c.receive()
			if err != nil {
				break
			}
			if m.check() != nil {
				continue
			}
			switch m.Op {
			case opHello:
				_ = negotiate(m.Hello) // an error is an answer
			case opStart:
				_ = m.Start.ID
			case opExec:
				_ = m.Exec.TTY
			case opVouch:
				if m.Vouch == nil {
					s.handle(c, m)
				}
			default:
				s.handle(c, m)
			}
		}
		s.tasks.Wait()
		if err := s.ledger.close(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzAnswers: whatever a keeper of any version sends, each request that waits
// is answered or told that the connection ended.
func FuzzAnswers(f *testing.F) {
	frames(f, &message{Op: opAnswer, Seq: 1, Started: &StartResult{PID: 7}}, &message{Op: opAnswer, Seq: 2, Error: &wireError{Kind: "lost", Message: "m"}},
		&message{Op: opAnswer, Seq: 2}, &message{Op: opAnswer, Seq: 3, Statuses: []Status{{ID: "a.0/1", State: Ended}}},
		&message{Op: opStatus, Statuses: []Status{{ID: "a.0/1", State: Lost}, {}}}, &message{Op: opStatus}, &message{Op: opBye}, &message{Op: "new"})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		p := NewClient(ClientConfig{Dir: dir, Log: slog.New(slog.DiscardHandler)}).peers[0]
		l := &link{conn: newConn(fed(t, b)), done: make(chan struct{}), waiting: map[uint64]chan *message{}}
		var waits []chan *message
		for seq := range uint64(4) {
			w := make(chan *message, 1)
			waits = append(waits, w)
			l.waiting[seq] = w
		}
		p.link = l
		p.read(l)
		for _, w := range waits {
			if m, ok := <-w; ok {
				_ = m.Error.asError()
			}
		}
		if _, ok := <-l.done; ok || p.link != nil {
			t.Fatal("the connection is still in use")
		}
	})
}

// FuzzMessage: a message that is read is written again, and read the same.
func FuzzMessage(f *testing.F) {
	frames(f, &message{Op: opStart, Seq: 1, Start: &StartRequest{ID: "a.0/1"}}, &message{Op: opAnswer, Error: &wireError{Kind: "lost"}})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newConn(fed(t, b))
		m, err := c.receive()
		if err != nil {
			return
		}
		one, err := encode(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		m, err = newConn(fed(t, one)).receive()
		if err != nil {
			t.Fatalf("%q: %v", one, err)
		}
		two, err := encode(nil, m)
		if err != nil || !bytes.Equal(one, two) {
			t.Fatalf("%q became %q: %v", one, two, err)
		}
	})
}
