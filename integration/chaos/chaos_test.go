package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/integration/lab"
)

// length is how long each run of the test breaks things; scripts/soak does so
// for hours.
const length = 150 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	lab.Tidy()
	os.Exit(code)
}

// chaos runs the command, which has to find nothing.
func chaos(t *testing.T, args ...string) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "chaos")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := exec.Command(bin, append(args, "--bin", lab.Binary(t))...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // it tidies up then
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// A cluster is broken in every way that the kit has, and what must hold does. The
// seed is a new one each time; it is printed.
func TestChaos(t *testing.T) { chaos(t, "--for", length.String()) }
