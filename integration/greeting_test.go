package integration

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// onTerminal runs a command whose output is a terminal, and returns what is on it.
func onTerminal(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	main, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer main.Close()
	n, err := unix.IoctlGetInt(int(main.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(main.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	side, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = side, side
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	side.Close()
	text, _ := io.ReadAll(main) // ends with an error once nobody has the other side open
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, text)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// One start after the other says the same in the same order: what was done, the line
// for scripts, and last, alone in its line, what to type on the next machine.
func TestGreetingsHaveOneOrder(t *testing.T) {
	l := newLab(t, 1)
	n := l.Nodes[0]
	varies := regexp.MustCompile(`mst1-\S+|\([0-9.]+ s\)|cluster  \S+|/\d\d/ca.crt`)
	first := ""
	for i := range 20 {
		dir := filepath.Join(n.Dir, fmt.Sprintf("%02d", i)) // below the node's, as are the keepers that are ended with it
		if err := os.MkdirAll(n.Dir, 0o711); err != nil {
			t.Fatal(err)
		}
		start := exec.Command("nsenter", "--net=/run/netns/"+n.NS, n.Bin, "--socket", n.Socket, "node", "start", "--name", n.Name,
			"--data", dir, "--listen", n.IP+":5050", "--slice", n.Slice())
		text := onTerminal(t, start)
		if _, errs, code := n.CLI("node", "stop"); code != 0 {
			t.Fatalf("stop it: %s", errs)
		}
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if !strings.HasPrefix(lines[0], "✓ ") || !strings.HasPrefix(lines[len(lines)-1],
			"  sudo mesita node join "+n.IP+" --token mst1-") || !strings.HasPrefix(lines[len(lines)-3], "ready name=") {
			t.Fatalf("start %d says:\n%s", i, text)
		}
		if log, err := os.ReadFile(filepath.Join(dir, "mesita.log")); err != nil || strings.Contains(string(log), "mst1-") {
			t.Errorf("%v: the log keeps a token: %s", err, log)
		}
		same := varies.ReplaceAllString(text, "…")
		if first == "" {
			first = same
		}
		if same != first {
			t.Fatalf("start %d says:\n%s\nand the first:\n%s", i, same, first)
		}
	}
}
