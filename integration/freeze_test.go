package integration

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// switches is how often a process gave up its processor to wait: a loop that
// sleeps does so all the time, and a frozen one never.
func switches(l *lab.Lab, pid int) string {
	l.T.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		l.T.Fatalf("%v", err)
	}
	_, after, _ := strings.Cut(string(b), "\nvoluntary_ctxt_switches:")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}

// Who borrowed is frozen in place when the owner asks for its guarantee, stays
// so over the death of the daemon, and continues as the same process once there
// is room.
func TestLentAndFrozen(t *testing.T) {
	l := newLab(t, 1)
	l.Form()
	n := l.Nodes[0]
	n.Must(http.MethodPut, "/v1/partitions/owner?create=1", map[string]any{"guarantee": map[string]any{"cpus": 3}}, nil)
	n.Must(http.MethodPut, "/v1/partitions/guest?create=1", map[string]any{"preempt": "freeze"}, nil)
	job := func(partition string, count int) {
		n.Submit(map[string]any{"kind": "service", "name": partition, "partition": partition, "count": count, "cpus": 1, "mem": "16MiB", "stopGrace": "1s",
			"command": []string{"/bin/sh", "-c", "while :; do sleep 0.02; done", "mesita-test-" + partition}})
		l.Await(lab.Patience, partition+" to run", func() bool { return len(n.Running(partition)) == count })
	}
	job("guest", 4)
	pids := map[string]int{}
	for _, v := range n.Running("guest") {
		pids[v.ID] = v.PID
	}
	job("owner", 3)
	frozen := func() (out []*api.Task) {
		for _, v := range n.Running("guest") {
			if v.Frozen {
				out = append(out, v)
			}
		}
		return out
	}
	if len(frozen()) != 3 {
		t.Fatalf("%d tasks are frozen, want 3", len(frozen()))
	}
	still := func(when string) {
		t.Helper()
		before := map[int]string{}
		for _, v := range frozen() {
			before[v.PID] = switches(l, v.PID)
		}
		<-time.After(200 * time.Millisecond) // ten turns of the loop
		for pid, was := range before {
			if now := switches(l, pid); now != was {
				t.Errorf("%s: process %d waited %s times and then %s: it runs", when, pid, was, now)
			}
		}
	}
	still("frozen")
	if _, errs, code := n.CLI("exec", frozen()[0].ID, "--", "true"); code == 0 || !strings.Contains(errs, "is frozen") {
		t.Errorf("exec into a frozen task: code %d, %s", code, errs)
	}
	n.Kill()
	n.Start()
	l.Await(lab.Patience, "all to be as before", func() bool { return len(frozen()) == 3 && len(n.Running("owner")) == 3 })
	still("after the daemon was killed")
	n.Must(http.MethodPost, "/v1/jobs/owner/stop", nil, nil)
	l.Await(lab.Patience, "the guests to continue", func() bool { return len(n.Running("guest")) == 4 && len(frozen()) == 0 })
	for _, v := range n.Running("guest") {
		if v.PID != pids[v.ID] || v.Attempt != 1 {
			t.Errorf("%s runs as process %d in attempt %d, and was %d", v.ID, v.PID, v.Attempt, pids[v.ID])
		}
		was := switches(l, v.PID)
		l.Await(lab.Patience, v.ID+" to turn its loop", func() bool { return switches(l, v.PID) != was })
	}
	n.Must(http.MethodPost, "/v1/jobs/guest/stop", nil, nil)
	settled(l, n, "guest", 0)
}
