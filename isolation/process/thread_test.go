//go:build startbythread || !(amd64 || arm64)

package process

import (
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
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
