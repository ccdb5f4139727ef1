package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster"
)

func TestDaemonArgsHideTheToken(t *testing.T) {
	for in, want := range map[string]string{
		"node start":                              "node start --foreground",
		"node join --token secret a:1 --name x":   "node join a:1 --name x --foreground",
		"node join --token=secret -- a:1":         "node join --foreground -- a:1",
		"node join --token-file f --attr a=b oak": "node join --token-file f --attr a=b oak --foreground",
	} {
		if got := strings.Join(daemonArgs(strings.Fields(in), nil), " "); got != want {
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

// What the file says as well is left out, so that a change of the file counts at a restart.
func TestDaemonArgsLeaveToTheFileWhatItHas(t *testing.T) {
	given := "--socket s node start --attr a=b --listen=x --allow-root --attr c=d --data d -- z"
	if got := strings.Join(daemonArgs(strings.Fields(given), map[string]bool{"attr": true, "listen": true, "allow-root": true, "http": true}), " "); got != "--socket s node start --data d --foreground -- z" {
		t.Errorf("left is %s", got)
	}
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
// journal of a unit. Either way how to add a machine is the last that is said.
func TestTheFirstTokenIsForATerminal(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	f, err := newFake(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer f.http.Close()
	made := welcome{cluster.Ready{Name: "oak", API: "https://10.0.0.1:5050", Socket: socket, Made: true, Steps: []string{"raft 1/1"}}, time.Second}
	var log bytes.Buffer
	(&app{out: &log, err: &log}).welcome(t.Context(), made)
	if strings.Contains(log.String(), "mst1-") || !strings.HasSuffix(log.String(), "\nready name=oak api=https://10.0.0.1:5050 socket="+socket+" http=\n"+addLater) || len(f.calls) > 0 {
		t.Errorf("%s\n%v", log.String(), f.calls)
	}
	side, printed := terminal(t)
	(&app{out: side, err: side}).welcome(t.Context(), made)
	text := printed("mst1-pine-t1.secret")
	if strings.Contains(text, "mesita node token") || !strings.Contains(text, "\r\nAdd a machine (token valid 24 h, for 10 machines):\r\n  sudo mesita node join 10.0.0.1 --token mst1-") || len(f.calls) != 1 {
		t.Errorf("%s\n%v", text, f.calls)
	}
	if !strings.HasPrefix(text, "✓ raft 1/1 ") || strings.Index(text, "ready name=oak") > strings.Index(text, "Add a machine") {
		t.Errorf("in another order: %s", text)
	}
	made.Made = false
	log.Reset()
	(&app{out: &log, err: &log}).welcome(t.Context(), made)
	if strings.Contains(log.String(), "Add a machine") {
		t.Errorf("a node that starts again: %s", log.String())
	}
}

// What became of a node that joined is known once the leader has decided.
func TestSeatOfANodeThatJoined(t *testing.T) {
	node := func(name, role string, workerOnly bool) *api.NodeStatus {
		return &api.NodeStatus{Node: &api.Node{Name: name, WorkerOnly: workerOnly}, Role: role}
	}
	oak, ash := node("oak", "voter, leader", false), node("ash", "voter", false)
	for _, c := range []struct {
		others  []*api.NodeStatus
		self    *api.NodeStatus
		step    string
		warning string
	}{
		{[]*api.NodeStatus{oak}, node("fir", "worker", false), "", ""}, // it will vote
		{[]*api.NodeStatus{oak}, node("fir", "voter", false), "voter 2/3", "2 voters tolerate no failure"},
		{[]*api.NodeStatus{oak, ash}, node("fir", "voter", false), "voter 3/3", ""},
		{[]*api.NodeStatus{oak, ash}, node("fir", "worker", true), "worker, 2 nodes vote", "2 voters tolerate no failure"},
		{[]*api.NodeStatus{oak, ash, node("elm", "voter", false)}, node("fir", "worker", false), "worker, 3 nodes vote", ""},
		{[]*api.NodeStatus{oak, ash, node("elm", "voter", false), node("yew", "worker", false)}, node("fir", "worker", false), "", ""},
		{[]*api.NodeStatus{oak, ash}, nil, "", ""},
	} {
		nodes := c.others
		if c.self != nil {
			nodes = append(nodes[:len(nodes):len(nodes)], c.self)
		}
		steps, warnings := seatAmong(nodes, "fir")
		if got := strings.Join(steps, "|"); got != c.step || !strings.HasPrefix(strings.Join(warnings, "|"), c.warning) || (c.warning == "") != (warnings == nil) {
			t.Errorf("among %d: %q and %q, want %q and %q", len(nodes), got, warnings, c.step, c.warning)
		}
	}
}

func TestWrappedLines(t *testing.T) {
	for _, c := range []struct {
		width    int
		in, want string
	}{
		{0, "one two three", "one two three\n"},
		{8, "one two three four", "one two\n  three\n  four\n"},
		{7, "✓ · ✓ ·", "✓ · ✓ ·\n"},
		{3, "longer than that", "longer\n  than\n  that\n"},
	} {
		if got := wrapped(c.in, c.width); got != c.want {
			t.Errorf("%q in %d: %q, want %q", c.in, c.width, got, c.want)
		}
	}
}
