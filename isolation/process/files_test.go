//go:build (amd64 || arm64) && !startbythread

package process

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// withoutFiles runs f while no file can be opened.
func withoutFiles(t *testing.T, f func()) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

// TestAStartThatFailsFailsNoOther: what the first start lacks the next one looks
// for again.
func TestAStartThatFailsFailsNoOther(t *testing.T) {
	st := &Starter{ProcRoot: filepath.Join(t.TempDir(), "none"), Log: slog.New(slog.DiscardHandler)}
	run := func() error {
		b, err := st.Begin(Place{}, Spec{Program: Program{Path: "/bin/true", Dir: "/", UID: uint32(os.Geteuid())}}, Files{}, nil)
		if err != nil {
			return err
		}
		p, err := b.Wait()
		if err != nil {
			return err
		}
		if e, err := p.Wait(); err != nil || e != (Exit{}) {
			t.Errorf("%+v, %v", e, err)
		}
		return nil
	}
	if run() == nil {
		t.Error("a process was started without a look at what there is")
	}
	st.ProcRoot = "/proc"
	withoutFiles(t, func() {
		if run() == nil {
			t.Error("a process was started without files")
		}
	})
	for range 300 {
		if err := run(); err != nil {
			t.Fatal(err)
		}
	}
}
