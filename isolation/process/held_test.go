//go:build (amd64 || arm64) && !startbythread

package process

import (
	"errors"
	"log/slog"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// killed begins a process, and kills it once it is known, before its program is.
func killed(t *testing.T, st *Starter, held bool, c Spec) *Birth {
	t.Helper()
	b, err := st.Begin(Place{Held: held}, c, Files{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := b.receive()
	if err != nil || n == nil || n.stage != 0 {
		t.Fatalf("the first news is %+v, %v", n, err)
	}
	b.named(n.pid)
	if err := unix.Kill(n.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	return b
}

// A process that is killed while it waits to be let go has not become its program,
// whether it is let go or dropped then.
func TestAKilledProcessDidNotBegin(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("namespaces need root")
	}
	st := &Starter{ProcRoot: "/proc", Log: slog.New(slog.DiscardHandler)}
	for _, private := range []bool{true, false} {
		c := Spec{Program: Program{Path: "/bin/true", Dir: "/"}, Confinement: Confinement{PrivatePIDs: private, PrivateMounts: private}}
		b := killed(t, st, true, c)
		b.Go()
		if p, err := b.Wait(); !errors.Is(err, ErrEnded) {
			t.Errorf("private %v: %+v, %v", private, p, err)
		}
		if err := killed(t, st, true, c).Drop(); err != nil {
			t.Errorf("private %v, dropped: %v", private, err)
		}
		if n, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
			t.Errorf("private %v: a child is left: %d, %v", private, n, err)
		}
	}
}
