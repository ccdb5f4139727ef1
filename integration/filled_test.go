package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// A task that fills the disk of its node's data folder, in files that are there or that
// it removed and has open, is ended for it. Nothing else of the node stops: what runs continues, and what starts later takes writes of Raft's log, the journal and the keeper.
func TestATaskThatFillsTheDisk(t *testing.T) {
	l := newLab(t, 1)
	n := l.Nodes[0]
	if err := os.Mkdir(n.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// Of the daemon and its children alone: nobody else sees the mount.
	n.Wrap = []string{"unshare", "--mount", "--propagation", "private", "sh", "-c", "mount -t tmpfs -o size=128m mesita " + n.Dir + ` && exec "$0" "$@"`}
	n.Start()
	n.Submit(sleeper("on", 1))
	settled(l, n, "on", 1)
	pid := n.Running("on")[0].PID
	const more = "while head -c 4194304 /dev/zero >&3; do sleep 0.1; done; exec sleep 1000"
	for name, script := range map[string]string{
		"named":    "exec 3>big; " + more,
		"tmp":      "exec 3>/tmp/big; " + more,
		"unlinked": "exec 3>big; rm big; " + more,
	} {
		// What it writes counts as its memory, as the disk is there.
		j := n.Submit(map[string]any{"kind": "batch", "name": name, "cpus": 0.5, "mem": "256MiB", "command": []string{"/bin/sh", "-c", script}})
		if j = n.AwaitJob(j.ID, "ended"); j.State != api.JobFailed {
			t.Fatalf("%s is %s", name, j.State)
		}
		task := n.Tasks(name)[0]
		if task.Reason != api.ReasonDiskFull || !strings.Contains(task.Message, "it filled the disk of node "+n.Name) || !strings.Contains(task.Message, "--disk-reserve") || task.PID == 0 {
			t.Errorf("%s: %s %s: %s", name, task.State, task.Reason, task.Message)
		}
		if run := n.Running("on"); len(run) != 1 || run[0].PID != pid {
			t.Errorf("%s: the task that ran all the time is %+v", name, run)
		}
		// Once its files are gone.
		var next api.Job
		l.Await(lab.Patience, "work to be taken again", func() bool {
			return n.Call("POST", "/v1/jobs", map[string]any{"kind": "batch", "command": []string{"/bin/true"}}, &next) == nil
		})
		if next = n.AwaitJob(next.ID, "ended"); next.State != api.JobFinished {
			t.Errorf("%s: job %s is %s", name, next.ID, next.State)
		}
	}
	if n.Ended() {
		t.Error("the daemon ended")
	}
}
