package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/cluster"
	"golang.org/x/sys/unix"
)

func TestDaemonArgsHideTheToken(t *testing.T) {
	for in, want := range map[string]string{
		"node start":                              "node start --foreground",
		"node join --token secret a:1 --name x":   "node join a:1 --name x --foreground",
		"node join --token=secret -- a:1":         "node join --foreground -- a:1",
		"node join --token-file f --attr a=b oak": "node join --token-file f --attr a=b oak --foreground",
	} {
		if got := strings.Join(daemonArgs(strings.Fields(in)), " "); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestHumanPartOfADaemonsLog(t *testing.T) {
	log := "time=2026-05-01T12:00:00Z level=INFO msg=x\n✓ raft 1/1\n{\"time\":\"…\"}\nerror: listen: taken\n"
	if got := human(log); got != "✓ raft 1/1\nerror: listen: taken\n" {
		t.Errorf("got %q", got)
	}
	if got := lastError("time=1 level=ERROR\n"); got != "time=1 level=ERROR\n" {
		t.Errorf("got %q", got)
	}
}

// ptyOf is a terminal: what a program prints to, and where that can be read.
func ptyOf(t *testing.T) (side, main *os.File) {
	t.Helper()
	main, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { main.Close() })
	n, err := unix.IoctlGetInt(int(main.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(main.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		side, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { side.Close() })
	return side, main
}

// terminal is one, and what was printed on it by the time that text is.
func terminal(t *testing.T) (side *os.File, printed func(text string) string) {
	t.Helper()
	side, main := ptyOf(t)
	return side, func(text string) string {
		var all strings.Builder
		for b := make([]byte, 4096); !strings.Contains(all.String(), text); {
			n, err := main.Read(b)
			if err != nil {
				t.Fatalf("%q, and then %v", all.String(), err)
			}
			all.Write(b[:n])
		}
		return all.String()
	}
}

// TestTheFirstTokenIsForATerminal: what is printed elsewhere is kept, as in the
// journal of a unit. The daemon in the background prints to its log, and who
// started it is shown the token in its place.
func TestTheFirstTokenIsForATerminal(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	f, err := newFake(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer f.http.Close()
	made := cluster.Ready{Name: "oak", API: "https://10.0.0.1:5050", Socket: socket, Made: true}
	var log bytes.Buffer
	(&app{err: &log}).greet(t.Context(), made, time.Second)
	if strings.Contains(log.String(), "mst1-") || !strings.HasSuffix(log.String(), addLater) || len(f.calls) > 0 {
		t.Errorf("%s\n%v", log.String(), f.calls)
	}
	side, printed := terminal(t)
	shown := &app{err: side}
	shown.greet(t.Context(), made, time.Second)
	if text := printed("mst1-pine-t1.secret"); strings.Contains(text, "mesita node token") || !strings.Contains(text, "node join ") || len(f.calls) != 1 {
		t.Errorf("%s\n%v", text, f.calls)
	}
	if text := shown.howToAdd(t.Context(), log.String(), socket); !strings.Contains(text, "mst1-") || !strings.HasPrefix(text, strings.TrimSuffix(log.String(), addLater)) {
		t.Errorf("in the background: %s", text)
	}
	made.Made = false
	log.Reset()
	(&app{err: &log}).greet(t.Context(), made, time.Second)
	if strings.Contains(log.String(), "Add a machine") {
		t.Errorf("a node that starts again: %s", log.String())
	}
}
