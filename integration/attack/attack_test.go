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

// Who may not is refused, whoever is asked: strangers and forgers on every route, keys
// of removed nodes and of workers, users of another partition, who guesses, pages of
// others. Floods are the command's and scripts/soak's:
// what they show takes a machine that does nothing else.
func TestWhoMayNot(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "attack")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := exec.Command(bin, "--only", "strangers,rights,stolen,alone,guesses,dev", "--seed", fmt.Sprint(draw.Seed(t)), "--bin", lab.Binary(t))
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // it tidies up then
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
