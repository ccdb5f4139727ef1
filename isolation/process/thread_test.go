//go:build startbythread || !(amd64 || arm64)

package process

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestProcByTheTool(t *testing.T) {
	if _, err := exec.LookPath("mount"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root, and mount(8)")
	}
	st := &Starter{ProcRoot: "/proc", Log: slog.New(slog.DiscardHandler)}
	if err := st.prepare("/proc"); err != nil {
		t.Fatal(err)
	}
	st.option = false
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := Spec{Program: Program{Path: "/bin/sh", Args: []string{"sh", "-c", "echo $$; ls -d /proc/[0-9]* | wc -l"}, Env: []string{"PATH=/usr/bin:/bin"}, Dir: "/", UID: 65534, GID: 65534},
		Confinement: Confinement{PrivatePIDs: true, PrivateMounts: true, PrivateIPC: true, Forbidden: ^UsualCapabilities}}
	b, err := st.Begin(Place{}, c, Files{Stdout: w, Stderr: w}, nil)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	p, err := b.Wait()
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	e, err := p.Wait()
	if got := strings.TrimSpace(string(out)); err != nil || e != (Exit{}) || got != "1\n2" && got != "1\n3" {
		t.Errorf("%+v, %v: %q", e, err, got)
	}
}

// A process that was killed at its exec has done nothing of its program.
func TestAKilledProcessDidNotBegin(t *testing.T) {
	onThread(func() {
		p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Ptrace: true}})
		if err != nil {
			t.Error(err)
			return
		}
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		if err := unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			t.Error(err)
		}
		st := &Starter{Log: slog.New(slog.DiscardHandler)}
		if err := st.atExec(p, false, func() error { return nil }, Confinement{}); !errors.Is(err, ErrEnded) {
			t.Error(err)
		}
	})
}
