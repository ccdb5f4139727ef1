package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

func TestTroubles(t *testing.T) {
	log := `something for people
time=2026-01-01T00:00:00Z level=INFO msg=fine err=no
time=2026-01-01T00:00:00Z level=ERROR msg="this voter is damaged" err="raft.db is gone, and \"oak\" has voted"
time=2026-01-01T00:00:01Z level=ERROR msg="this voter is damaged" err="raft.db is gone, and \"oak\" has voted" node=oak
time=2026-01-01T00:00:02Z level=ERROR msg=short err=EOF more=1
{"time":"2026-01-01T00:00:03Z","level":"ERROR","msg":"x","err":"as JSON"}
{"level":"ERROR"
`
	want := "! raft.db is gone, and \"oak\" has voted\n! EOF\n! as JSON\n"
	if got := troubles(log); got != want {
		t.Errorf("%q", got)
	}
}

// A daemon that could not say why it ended, on a full disk, does not fail
// without a word.
func TestDaemonThatEndsWithoutAWord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesita.log")
	if err := os.WriteFile(path, []byte("of the start before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := daemonLog{path, int64(len("of the start before\n"))}
	ended := exec.Command("/bin/sh", "-c", "exit 5").Run()
	var out bytes.Buffer
	a := &app{err: &out}
	if err := a.daemonEnded(ended, log); err == nil || !strings.Contains(err.Error(), "disk is full") || !strings.Contains(err.Error(), "exit status 5") || out.Len() > 0 {
		t.Errorf("%v, %q", err, out.String())
	}
	if err := os.WriteFile(path, []byte("of the start before\nerror: listen: is taken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.daemonEnded(ended, log); err != exitError(5) || out.String() != "error: listen: is taken\n" {
		t.Errorf("%v, %q", err, out.String())
	}
}

// A voter that did not answer a check is in its table all the same.
func TestVotersThatDoNotAnswerACheck(t *testing.T) {
	node := func(id, name, role string) *api.NodeStatus {
		return &api.NodeStatus{Node: &api.Node{ID: id, Name: name}, Role: role}
	}
	nodes := []*api.NodeStatus{node("a", "oak", "voter, leader"), node("b", "fir", "voter"), node("c", "elm", "worker"), node("d", "ash", "voter")}
	got := ""
	for _, r := range checkRows(&api.StateCheck{Answers: []api.StateAnswer{{NodeID: "a", State: "1"}, {NodeID: "d", State: "1"}}}, nodes) {
		got += r.NodeID + " " + r.State + "\n"
	}
	if want := "d 1\nb no answer\na 1\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
