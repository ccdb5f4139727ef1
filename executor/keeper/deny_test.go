package keeper

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mesita/mesita/executor/vouch"
)

// inProcess is a keeper that serves, but for what needs the machine.
func inProcess(t *testing.T, dir string) *server {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := newServer(Config{Dir: dir, Log: slog.New(slog.DiscardHandler), Idle: time.Hour, Orphaned: time.Hour}, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := listening(t, dir)
	if err := s.learnDenied(); err != nil {
		t.Fatal(err)
	}
	s.conns.Go(func() { s.accept(l) })
	t.Cleanup(func() {
		l.Close()
		s.finish()
		s.conns.Wait() // who asked has left
		s.tasks.Wait()
		s.beside.close()
		if err := s.ledger.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// listening is the socket of a keeper, which answers nobody.
func listening(t *testing.T, dir string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, socketFile), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// refuses reports whether a keeper starts an attempt no more.
func (s *server) refuses(id string) bool { return !s.fates.begin(id) }

// What one keeper of a node said that is not there, none beside it begins, nor
// one that starts later; what one has begun, no other says is not there.
func TestADenialBindsTheKeepersBeside(t *testing.T) {
	first := filepath.Join(t.TempDir(), "keeper")
	a, b := inProcess(t, first), inProcess(t, first+"-2")
	fate := func(s *server, id string) vouch.Fate {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); { // who asks asks again
			if got, ok := s.answer([]uint64{vouch.Name(id)}); ok {
				return got.Fates[0]
			}
		}
		t.Fatal("the keeper says nothing")
		return 0
	}
	if got := fate(a, "a.0/1"); got != vouch.Unknown {
		t.Fatalf("of what nobody has it says %v", got)
	}
	for name, s := range map[string]*server{"the one that was asked": a, "the one beside it": b, "a later one": inProcess(t, first+"-3")} {
		if !s.refuses("a.0/1") {
			t.Errorf("%s begins what was denied", name)
		}
	}
	if b.refuses("a.1/1") { // it is not in the ledger yet
		t.Fatal("it does not begin what nobody asked for")
	}
	if got := fate(a, "a.1/1"); got != vouch.Runs {
		t.Errorf("of what the one beside it has begun it says %v", got)
	}
	if got := fate(b, "a.1/1"); got != vouch.Runs {
		t.Errorf("of what it has begun it says %v", got)
	}
}

// While one of them does not answer nothing is denied that it may begin, and what
// is asked besides is answered; a new keeper does not begin then.
func TestADenialWaitsForAKeeperThatHangs(t *testing.T) {
	first := filepath.Join(t.TempDir(), "keeper")
	a := inProcess(t, first)
	hung := first + "-2"
	if err := os.Mkdir(hung, 0o700); err != nil {
		t.Fatal(err)
	}
	l := listening(t, hung)
	a.fates.set("a.0/1", vouch.Ended)
	got, ok := a.answer([]uint64{vouch.Name("a.0/1"), vouch.Name("a.1/1")})
	if ok {
		t.Errorf("it denies what another may begin: %+v", got)
	}
	for _, names := range [][]uint64{nil, {vouch.Name("a.0/1")}} {
		if got, ok := a.answer(names); !ok || got.Ended != 1 {
			t.Errorf("asked for %v it says %+v, %v", names, got, ok)
		}
	}
	if _, err := a.askBeside(message{Op: opDenied}, time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a new keeper is told %v", err)
	}
	l.Close()
	if got, ok := a.answer([]uint64{vouch.Name("a.1/1")}); !ok || got.Fates[0] != vouch.Unknown {
		t.Errorf("once it is gone the other says %+v, %v", got, ok)
	}
}
