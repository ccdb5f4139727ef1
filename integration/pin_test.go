package integration

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// cpusOf are those that a process may run on.
func cpusOf(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // one that ended has none
	for line := range strings.Lines(string(b)) {
		if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			return strings.TrimSpace(list)
		}
	}
	return ""
}

// A task's own CPUs are nobody else's on its node, as it says itself: over a
// kill of the daemon they stay, and whoever starts elsewhere after its node died
// has some there.
func TestOwnCPUs(t *testing.T) {
	l := newLab(t, 3)
	for _, n := range l.Nodes {
		n.CPUs = runtime.NumCPU() // more than there are cannot be given away
	}
	l.Form()
	n := l.Leader()
	node := l.Other(n)
	for _, m := range n.Members() {
		if m.Resources.Pins == 0 {
			t.Skip("no CPU can be given away on this machine")
		}
	}
	service := func(name string, more map[string]any) map[string]any {
		spec := sleeper(name, 1)
		for k, v := range more {
			spec[k] = v
		}
		return spec
	}
	task := func(job string) (is *api.Task) {
		l.Await(lab.Patience, job+" to run", func() bool {
			is = nil
			for _, x := range n.Running(job) {
				is = x
			}
			return is != nil
		})
		return is
	}
	n.Submit(service("beside", map[string]any{"constraints": []string{"node.name=" + node.Name}}))
	n.Submit(service("own", map[string]any{"cpus": 1, "pin": true, "affinity": []string{"beside"}}))
	own, beside := task("own"), task("beside")
	if own.Node != beside.Node {
		t.Fatalf("own on %s, the other on %s", own.Node, beside.Node)
	}
	apart := func(when string) (cpus string) {
		t.Helper()
		l.Await(lab.Patience, when+": the others to be kept off", func() bool {
			cpus = cpusOf(task("own").PID)
			return cpus != "" && !strings.ContainsAny(cpus, "-,") && !strings.Contains(cpusOf(task("beside").PID), cpus)
		})
		out, errs, code := n.CLI("show", "own.0")
		if code != 0 || !strings.Contains(out, "own cpus   "+cpus+"\n") {
			t.Errorf("%s: show says %d %s%s", when, code, out, errs)
		}
		return cpus
	}
	was := apart("at first")
	node.Kill()
	node.Start()
	if is := task("own"); is.PID != own.PID || is.Attempt != own.Attempt {
		t.Errorf("after a kill of the daemon attempt %d, pid %d became attempt %d, pid %d", own.Attempt, own.PID, is.Attempt, is.PID)
	}
	if is := apart("after a kill of the daemon"); is != was {
		t.Errorf("it had CPU %s, and has %s after a kill of the daemon", was, is)
	}
	node.Kill()
	for _, pid := range node.Keepers() {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
	node.Start()
	l.Await(lab.Patience, "both to start again", func() bool {
		return task("own").Attempt > own.Attempt && task("beside").Attempt > beside.Attempt
	})
	apart("after a kill of the parent of all tasks")
}
