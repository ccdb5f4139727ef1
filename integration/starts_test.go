package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/draw"
	"github.com/mesita/mesita/integration/lab"
)

// resident is what a process has of memory, and how many files it has open; false if it
// has ended, or is about to: what was killed may be found for a while.
func resident(t *testing.T, pid int) (kib, files int, alive bool) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	f := strings.Fields(rest)
	if err != nil || len(f) < 2 {
		return 0, 0, false
	}
	if kib, err = strconv.Atoi(f[0]); err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return kib, len(fds), err == nil
}

// inNetwork are the processes in the network of a node: all that it started,
// whatever they are.
func inNetwork(t *testing.T, n *lab.Node) (out []string) {
	t.Helper()
	fi, err := os.Stat("/run/netns/" + n.NS)
	if err != nil {
		t.Fatal(err)
	}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net") // no bad pattern
	for _, link := range links {
		if of, err := os.Stat(link); err == nil && os.SameFile(of, fi) { // else it ended
			name, _ := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(link)), "comm"))
			out = append(out, link+" "+strings.TrimSpace(string(name)))
		}
	}
	return out
}

func mounts(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte("\n"))
}

// Tasks start by the thousand while the daemon and the keeper are killed: none is
// lost, no attempt starts twice, none starts again but for a keeper that was
// killed, and nothing stays on the machine. MESITA_STARTS says how many.
func TestThousandsOfStarts(t *testing.T) {
	total := howMany(t, "MESITA_STARTS", 1000)
	l := newLab(t, 1)
	l.Form()
	n := l.Nodes[0]
	d := diary{t, filepath.Join(t.TempDir(), "diary")}
	mounted := mounts(t)
	part := max(250, total/50)
	first := 0 // files of a keeper that had started some
	var jobs []string
	random := draw.Rand(t)
	for done := 0; done < total; done += part {
		id := n.Submit(map[string]any{"kind": "batch", "array": fmt.Sprintf("0-%d", part-1), "cpus": 0.01, "mem": "4MiB", "command": d.writer("sleep 300 & :")}).ID
		jobs = append(jobs, id)
		for _, what := range []string{"daemon", "keeper"} {
			at := random.IntN(part/2) + 1
			if what == "keeper" {
				at += part/2 - 1
			}
			awaitEnded(l, id, at)
			if what == "keeper" {
				for _, pid := range n.Keepers() {
					_ = syscall.Kill(pid, syscall.SIGKILL) // it may just have ended
				}
				continue
			}
			n.Kill()
			n.Start()
		}
		awaitEnded(l, id, part)
		if k := n.Keepers(); len(k) == 1 {
			kib, files, alive := resident(t, k[0])
			if !alive {
				continue
			}
			if first == 0 {
				first = files
			}
			if files > first+16 {
				t.Errorf("after %d starts the keeper has %d files open, it had %d", done+part, files, first)
			}
			t.Logf("after %d starts: the keeper has %d KiB and %d files", done+part, kib, files)
		}
	}
	again := 0
	starts, ends := d.lines("start"), d.lines("end")
	for _, id := range jobs {
		tasks := n.Tasks(id)
		if len(tasks) != part {
			t.Fatalf("job %s has %d tasks, not %d", id, len(tasks), part)
		}
		for _, task := range tasks {
			again += len(task.Earlier)
			checkStarts(t, task, starts[task.ID], ends[task.ID])
		}
	}
	t.Logf("%d tasks, %d attempts more", len(jobs)*part, again)
	n.Terminate()
	var left []string
	if !lab.Until(lab.Patience, func() bool { // the keeper waits for another daemon, for a while
		left = append(n.Left(), inNetwork(t, n)...)
		return len(left) == 0
	}) {
		t.Errorf("left on the machine: %q", left)
	}
	if now := mounts(t); now > mounted {
		t.Errorf("%d mounts, there were %d", now, mounted)
	}
}

// awaitEnded waits until so many tasks of a job have ended.
func awaitEnded(l *lab.Lab, id string, want int) {
	l.T.Helper()
	l.Await(lab.Patience, fmt.Sprintf("%d tasks of job %s to have ended", want, id), func() bool {
		var j api.Job
		return l.Nodes[0].Call(http.MethodGet, "/v1/jobs/"+id, nil, &j) == nil && j.Counts.Finished+j.Counts.Failed >= want
	})
}

// checkStarts fails if a task ended otherwise than it noted, or started more
// often than it should.
func checkStarts(t *testing.T, task *api.Task, starts, ends []string) {
	t.Helper()
	if task.State != api.TaskFinished || task.ExitCode == nil || *task.ExitCode != 0 || len(ends) == 0 {
		t.Errorf("%s is %s (%s: %s), and noted %d ends", task.ID, task.State, task.Reason, task.Message, len(ends))
	}
	seen := map[string]bool{}
	for _, s := range starts {
		if seen[s] {
			t.Errorf("%s: attempt %s started twice", task.ID, s)
		}
		seen[s] = true
	}
	if len(starts) > task.Attempt {
		t.Errorf("%s: %d starts in %d attempts", task.ID, len(starts), task.Attempt)
	}
	for _, a := range task.Earlier {
		if a.Reason != api.ReasonKeeperLost && a.Reason != api.ReasonInternal {
			t.Errorf("%s: attempt %d ended %s: %s", task.ID, a.Attempt, a.Reason, a.Message)
		}
	}
}
