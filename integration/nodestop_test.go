package integration

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// A node of this machine is stopped and started again by its own command: its tasks run
// on, the lead is handed over, and it is refused where the cluster would be without one.
func TestANodeIsStoppedByItsCommand(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	spec := sleeper("on", 0)
	spec["kind"], spec["array"] = "batch", "0-2" // a service would start elsewhere
	delete(spec, "count")
	l.Nodes[0].Submit(spec)
	settled(l, l.Nodes[0], "on", 3)
	old := l.Leader()
	pids := map[string]int{}
	for _, task := range l.Nodes[0].Running("on") {
		pids[task.ID] = task.PID
	}
	stop := func(n *lab.Node, want int, args ...string) string {
		t.Helper()
		out, errs, code := n.CLI(append([]string{"node", "stop"}, args...)...)
		if code != want {
			t.Fatalf("stop %v on %s: exit code %d, want %d: %s%s", args, n.Name, code, want, out, errs)
		}
		return errs
	}
	stop(old, 0, "--dry-run")
	if old.Ended() {
		t.Fatal("a dry run stopped it")
	}
	if said := stop(old, 0); !strings.Contains(said, old.Name+" has stopped") {
		t.Errorf("it says %q", said)
	}
	if !old.Ended() {
		<-old.Done // the command waited for the process, and its parent hears of it a moment later
	}
	stop(old, 8) // nobody is there
	next := l.Leader()
	if next == old {
		t.Fatal("it leads, and is stopped")
	}
	l.Await(lab.Patience, "it to be known as stopped", func() bool {
		for _, m := range next.Members() {
			if m.Name == old.Name {
				return m.Away || m.State != api.NodeReady
			}
		}
		return false
	})
	if said := stop(next, 5); !strings.Contains(said, "1 of 3 voters") {
		t.Errorf("it says %q", said)
	}
	old.Start()
	settled(l, next, "on", 3)
	for _, task := range next.Running("on") {
		if task.Attempt != 1 || task.PID != pids[task.ID] {
			t.Errorf("%s did not run on: attempt %d, pid %d, before %d", task.ID, task.Attempt, task.PID, pids[task.ID])
		}
	}
	stop(next, 0, "--with-tasks", "--deadline", "1s")
	for _, task := range old.Running("on") {
		if task.Node == next.Name {
			t.Errorf("%s is left on the node that was stopped with its tasks", task.ID)
		}
	}
}
