package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mesita/mesita/integration/draw"
	"github.com/mesita/mesita/integration/lab"
)

func TestMain(m *testing.M) {
	code := m.Run()
	lab.Tidy()
	os.Exit(code)
}

// chaos runs the command, which has to find nothing. What it prints has the
// seed, the command that repeats it, and where the folders are kept.
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

// A cluster is broken once in every way that the kit has, alone and mixed, and
// what must hold does.
func TestEachFault(t *testing.T) { chaos(t, "--for", "0", "--seed", fmt.Sprint(draw.Seed(t))) }

// Node by node a cluster goes from the pinned version to this one, back, and up
// again, under load; nodes of both versions join, and send each other snapshots.
// No request fails that the client does not repeat by itself.
func TestRollingUpgrade(t *testing.T) { chaos(t, "--upgrade-from", pins[0], "--rate", "500") }
