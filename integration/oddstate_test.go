package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// rewriteMemory replaces a text by another of the same length wherever a
// process holds it in memory of its own, as failing memory might, and returns
// how often.
func rewriteMemory(t *testing.T, pid int, old, by string) (times int) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var mode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); n != 3 || mode != "rw-p" {
			continue
		}
		b := make([]byte, to-from)
		n, _ := mem.ReadAt(b, int64(from)) // what was not used yet cannot be read
		for b, at := b[:n], from; ; times++ {
			i := bytes.Index(b, []byte(old))
			if i < 0 {
				break
			}
			if _, err := mem.WriteAt([]byte(by), int64(at)+int64(i)); err != nil {
				t.Fatal(err)
			}
			b, at = b[i+len(old):], at+uint64(i+len(old))
		}
	}
	return times
}

// daemonOf is the process of a node.
func daemonOf(t *testing.T, n *lab.Node) int {
	t.Helper()
	keepers := n.Keepers()
	for _, pid := range lab.PidsOf("\x00--data\x00" + n.Dir) {
		if !slices.Contains(keepers, pid) {
			return pid
		}
	}
	t.Fatalf("no daemon of %s", n.Name)
	return 0
}

// One letter of a voter's state changes in its memory, first of a follower and
// then of the leader. It is found, named, and filled anew by itself, and exactly
// what is wanted runs.
func TestOddVoter(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	l.AwaitVoters(3)
	const right, wrong = "marker-of-this-job-A", "marker-of-this-job-B"
	spec := sleeper("keep", 3)
	spec["labels"] = map[string]string{"mark": right}
	l.Leader().Submit(spec)
	settled(l, l.Leader(), "keep", 3)
	check := func() (s api.StateCheck) {
		t.Helper()
		l.Leader().Must(http.MethodPost, "/v1/statecheck", nil, &s)
		return s
	}
	if s := check(); len(s.Answers) != 3 || len(s.Odd) != 0 || s.Split {
		t.Fatalf("a healthy cluster: %+v", s)
	}
	for _, odd := range []*lab.Node{l.Other(l.Leader()), l.Leader()} {
		if n := rewriteMemory(t, daemonOf(t, odd), right, wrong); n == 0 {
			t.Fatalf("%s does not hold the label", odd.Name)
		}
		s := check()
		if len(s.Odd) != 1 || s.Split {
			t.Fatalf("%s is odd: %+v", odd.Name, s)
		}
		l.Await(lab.Patience, odd.Name+" to put its log aside", func() bool {
			_, err := os.Stat(filepath.Join(odd.Dir, "raft.odd"))
			return err == nil
		})
		l.AwaitVoters(3)
		l.Await(lab.Patience, "all voters to hold the same again", func() bool {
			var s api.StateCheck
			return l.Leader().Call(http.MethodPost, "/v1/statecheck", nil, &s) == nil && len(s.Answers) == 3 && len(s.Odd) == 0
		})
		settled(l, l.Leader(), "keep", 3)
	}
	var in struct{ Items []api.Incident }
	l.Leader().Must(http.MethodGet, "/v1/incidents", nil, &in)
	found := 0
	for _, i := range in.Items {
		if i.Kind == api.IncidentStatesDiffer && !i.Over.IsZero() {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d incidents that are over: %+v", found, in.Items)
	}
	var j api.Job
	l.Leader().Must(http.MethodGet, "/v1/jobs/keep", nil, &j)
	if j.Spec.Labels["mark"] != right {
		t.Errorf("the label is %q", j.Spec.Labels["mark"])
	}
}
