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

// What the checker has to find, it finds: a record in which something happened
// that must not is told apart from one in which all is well.
func TestCheckerFinds(t *testing.T) {
	start := func(attempt int, node string) line { return line{"start", "a.0", attempt, node, "-"} }
	end := func(attempt int, node string) line { return line{"end", "a.0", attempt, node, "0"} }
	for _, tt := range []struct {
		name         string
		lines        []line
		wrong, twice int
	}{
		{"one run", []line{start(1, "n1"), end(1, "n1")}, 0, 0},
		{"moved after its node lost its power", []line{start(1, "n1"), {what: "gone", node: "n1"}, start(2, "n2"), end(2, "n2")}, 0, 0},
		{"moved after it was stopped", []line{start(1, "n1"), {"stopped", "a.0", 1, "n1", "143"}, start(2, "n2"), end(2, "n2")}, 0, 0},
		{"beside itself", []line{start(1, "n1"), {what: "gone", node: "n3"}, start(2, "n2"), end(2, "n2"), end(1, "n1")}, 0, 1},
		{"to its end twice", []line{start(1, "n1"), end(1, "n1"), start(2, "n2"), end(2, "n2")}, 0, 1},
		{"the same attempt on two nodes", []line{start(1, "n1"), start(1, "n2"), end(1, "n1"), end(1, "n2")}, 2, 1},
		{"an end without a start", []line{end(1, "n1")}, 1, 0},
	} {
		h := newHistory()
		wrong := 0
		for _, l := range tt.lines {
			wrong += len(h.add(l))
		}
		if wrong != tt.wrong || len(h.twice) != tt.twice {
			t.Errorf("%s: %d wrong and %d twice (%v), want %d and %d", tt.name, wrong, len(h.twice), h.twice, tt.wrong, tt.twice)
		}
	}
}
