package integration

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"golang.org/x/sys/unix"
)

// A program that only the submitter has is uploaded, fetched by the node that
// is to run it, and runs there.
func TestUploadedProgramRunsElsewhere(t *testing.T) {
	l := newLab(t, 3)
	l.form()
	from := l.leader()
	to := l.other(from)
	program := filepath.Join(l.dir, "hello")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$0 on $MESITA_NODE says $1\"\nexit 4\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, errs, code := from.cli("job", "submit", "--wait", "--constraint", "node.name="+to.name, "--name", "hello", "--", program, "moin")
	if code != 4 || !strings.Contains(errs, "uploaded hello") {
		t.Errorf("exit code %d, want the program's 4\n%s%s", code, out, errs)
	}
	logs, _, _ := from.cli("logs", "hello")
	if !strings.Contains(logs, "on "+to.name+" says moin") || !strings.Contains(logs, to.dir+"/") {
		t.Errorf("it did not run from the program cache of %s: %q", to.name, logs)
	}
	held := func(n *labNode) bool {
		for _, f := range glob(t, n.dir+"/executor/blobs/*") {
			if info, err := os.Stat(f); err == nil && info.Mode().IsRegular() {
				return true
			}
		}
		return false
	}
	third := l.other(from, to)
	if !held(from) || !held(to) || held(third) {
		t.Errorf("program held by %s: %v, %s: %v, %s: %v", from.name, held(from), to.name, held(to), third.name, held(third))
	}
	// Where it came from is gone: it is run again from what the nodes hold.
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	var j api.Job
	from.must(http.MethodGet, "/v1/jobs/hello", nil, &j)
	next := from.submit(map[string]any{"kind": "batch", "name": "again", "command": []string{program, "tschuess"}, "program": j.Spec.Program,
		"constraints": []string{"node.name=" + third.name}})
	from.must(http.MethodGet, "/v1/jobs/"+next.ID+"?wait=ended&timeout=20s", nil, &next)
	if next.ExitCode == nil || *next.ExitCode != 4 {
		t.Errorf("on the third node it ended with %v", next.ExitCode)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Two of three nodes are lost and the third is made the only voter. One of the
// lost ones starts again with its old data all the same: it joins the cluster
// as it is now, and nothing written since is lost.
func TestRecoveredQuorum(t *testing.T) {
	l := newLab(t, 3)
	l.form()
	leader := l.leader()
	leader.submit(sleeper("keep", 2))
	settled(l, leader, "keep", 2)
	before := leader.submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}})
	left := l.other(leader)
	var at, has api.Health
	leader.must(http.MethodGet, "/v1/health", nil, &at)
	l.await(10*time.Second, "the node that will be left to have all", func() bool {
		return left.call(http.MethodGet, "/v1/health", nil, &has) == nil && has.Index >= at.Index
	})
	for _, n := range l.nodes {
		if n != left {
			n.powerOff()
		}
	}
	left.await(10*time.Second, "the quorum to be missed", func() bool { return left.call(http.MethodGet, "/v1/health", nil, nil) != nil })
	left.recover()
	after := left.submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}})
	left.must(http.MethodGet, "/v1/jobs/"+after.ID+"?wait=ended&timeout=20s", nil, &after)
	settled(l, left, "keep", 2)
	var told struct{ Items []api.Event }
	left.must(http.MethodGet, "/v1/events?since=10m&limit=1000", nil, &told)
	if !slices.ContainsFunc(told.Items, func(e api.Event) bool {
		return e.Kind == api.EventClusterRestored && e.Actor == "node:"+left.name && strings.Contains(e.Message, "only voter")
	}) {
		t.Errorf("no event tells of the recovery: %+v", told.Items)
	}

	back := l.other(left)
	back.start()
	l.await(30*time.Second, "the node to be back as a voter", func() bool {
		for _, m := range left.members() {
			if m.Name == back.name {
				return m.State == api.NodeReady && strings.HasPrefix(m.Role, "voter")
			}
		}
		return false
	})
	for _, n := range []*labNode{left, back} {
		for _, id := range []string{before.ID, after.ID} {
			var j api.Job
			n.must(http.MethodGet, "/v1/jobs/"+id+"?wait=ended&timeout=20s", nil, &j)
			if j.State != api.JobFinished {
				t.Errorf("%s says that job %s is %s", n.name, id, j.State)
			}
		}
	}
	var a, b api.Health
	left.must(http.MethodGet, "/v1/health", nil, &a)
	back.must(http.MethodGet, "/v1/health", nil, &b)
	if a.Leader != b.Leader {
		t.Errorf("%s follows %q, %s follows %q", left.name, a.Leader, back.name, b.Leader)
	}
	back.submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}})
	settled(l, left, "keep", 2)
}

// recover makes a node whose quorum is lost the only voter, and starts it.
func (n *labNode) recover() {
	n.t.Helper()
	var self struct{ Cluster string }
	if b, err := os.ReadFile(filepath.Join(n.dir, "node.json")); err != nil || json.Unmarshal(b, &self) != nil {
		n.t.Fatalf("%v: %s", err, b)
	}
	recoverArgs := []string{"cluster", "recover", self.Cluster, "--data", n.dir, "--listen", n.ip + ":5050"}
	if _, errs, code := n.cli(recoverArgs...); code != 5 {
		n.t.Errorf("recovering a node that runs ends with %d, want 5: %s", code, errs)
	}
	n.terminate()
	if out, errs, code := n.cli(recoverArgs...); code != 0 {
		n.t.Fatalf("recover: exit code %d: %s%s", code, out, errs)
	}
	n.start()
}

// Both lost nodes start again with their old data, after they were removed:
// they are enough to elect a leader among themselves, and it must not become
// that of the recovered node and undo what was written since.
func TestRemovedVotersDoNotTakeOver(t *testing.T) {
	l := newLab(t, 3)
	l.form()
	left := l.other(l.leader())
	b := l.other(left)
	c := l.other(left, b)
	b.powerOff()
	c.powerOff()
	left.recover()
	after := left.submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}})
	left.must(http.MethodGet, "/v1/jobs/"+after.ID+"?wait=ended&timeout=20s", nil, &after)
	for _, n := range []*labNode{b, c} {
		if _, errs, code := left.cli("node", "rm", "--force", n.name); code != 0 {
			t.Fatalf("remove %s: exit code %d: %s", n.name, code, errs)
		}
		n.launch("start")
	}
	l.await(20*time.Second, "the removed nodes to have a leader of their own", func() bool {
		var h api.Health
		return b.call(http.MethodGet, "/v1/health", nil, &h) == nil && (h.Leader == b.name || h.Leader == c.name)
	})
	next := left.submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}})
	left.must(http.MethodGet, "/v1/jobs/"+next.ID+"?wait=ended&timeout=20s", nil, &next)
	var h api.Health
	left.must(http.MethodGet, "/v1/health", nil, &h)
	if h.Leader != left.name {
		t.Errorf("%s leads the recovered node", h.Leader)
	}
	left.must(http.MethodGet, "/v1/jobs/"+after.ID, nil, nil)
	if out, errs, code := left.cli("node", "ls", "-q"); code != 0 || strings.Contains(out, b.name) || strings.Contains(out, c.name) {
		t.Errorf("exit code %d, nodes: %s%s", code, out, errs)
	}
}

// The disk under the data folder is full: new work is refused in words that
// name the disk, what runs goes on, and once there is room work starts again.
func TestFullDisk(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	if err := os.Mkdir(n.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// Of the daemon and its children alone: nobody else sees the mount.
	n.wrap = []string{"unshare", "--mount", "--propagation", "private", "sh", "-c", "mount -t tmpfs -o size=96m mesita " + n.dir + ` && exec "$0" "$@"`}
	n.start()
	inside := fmt.Sprintf("/proc/%d/root%s", n.cmd.Process.Pid, n.dir)
	n.submit(sleeper("on", 1))
	settled(l, n, "on", 1)
	pid := n.running("on")[0].PID

	ballast := filepath.Join(inside, "ballast")
	fill(t, ballast)
	out, errs, code := n.cli("job", "submit", "--wait", "--timeout", "25s", "--", "/bin/true")
	if code != 8 || !strings.Contains(errs, "the disk of "+n.dir) || !strings.Contains(errs, n.name) {
		t.Errorf("with a full disk a job is answered with exit code %d, want 8 and a text that names the disk\n%s%s", code, out, errs)
	}
	if run := n.running("on"); len(run) != 1 || run[0].PID != pid || processes(l, "on") != 1 {
		t.Errorf("the running task is %+v", run)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	j := api.Job{}
	l.await(40*time.Second, "work to be taken again", func() bool {
		return n.call(http.MethodPost, "/v1/jobs", map[string]any{"kind": "batch", "command": []string{"/bin/true"}}, &j) == nil
	})
	n.must(http.MethodGet, "/v1/jobs/"+j.ID+"?wait=ended&timeout=30s", nil, &j)
	if j.State != api.JobFinished {
		t.Errorf("job %s is %s", j.ID, j.State)
	}
	if run := n.running("on"); len(run) != 1 || run[0].PID != pid {
		t.Errorf("the task that ran all the time is %+v", run)
	}
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4 << 10} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		if !isFull(err) {
			t.Fatal(err)
		}
		err = nil
	}
}

func isFull(err error) bool { return strings.Contains(err.Error(), syscall.ENOSPC.Error()) }

// A follower was down for so long that the log it needs is gone: it is fed a
// snapshot, and takes part again.
func TestFollowerFedBySnapshot(t *testing.T) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // 17,000 entries are a matter of the disk
	}
	l := newLab(t, 3)
	l.form()
	leader := l.leader()
	late := l.other(leader)
	leader.submit(sleeper("here", 3))
	settled(l, leader, "here", 3)
	late.terminate()
	began := time.Now()
	index := busyLog(t, leader, late, 17_000)
	t.Logf("%d entries after %v", index, time.Since(began))
	late.launch("start", "--log-level", "debug")
	late.awaitReady()
	l.await(30*time.Second, "the follower to have caught up", func() bool {
		var h api.Health
		return late.call(http.MethodGet, "/v1/health", nil, &h) == nil && h.Index >= index
	})
	if log, err := os.ReadFile(late.dir + ".log"); err != nil || !bytes.Contains(log, []byte("Installed remote snapshot")) {
		t.Errorf("the follower caught up without a snapshot (%v)", err)
	}
	settled(l, late, "here", 3)
	third := l.other(leader, late)
	third.kill()
	leader.submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}}) // with its vote
}

// busyLog makes the log grow to so many entries, and returns its end.
func busyLog(t *testing.T, n, down *labNode, entries uint64) uint64 {
	t.Helper()
	var h api.Health
	var wg sync.WaitGroup
	var mu sync.Mutex
	reached := false
	for i := range 2 {
		spec := sleeper(fmt.Sprintf("busy%d", i), 1)
		spec["constraints"] = []string{"node.name=" + down.name}
		n.submit(spec)
		wg.Go(func() {
			for k := 0; ; k++ {
				if err := n.call(http.MethodPost, fmt.Sprintf("/v1/jobs/busy%d/scale", i), map[string]int{"count": 1 + k%2}, nil); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if k%64 == 0 {
					if err := n.call(http.MethodGet, "/v1/health", nil, &h); err != nil {
						t.Error(err)
					}
				}
				reached = reached || h.Index >= entries || t.Failed()
				done := reached
				mu.Unlock()
				if done {
					return
				}
			}
		})
	}
	wg.Wait()
	return h.Index
}

// Two thousand connections are opened at once and send half a request each:
// the node still answers, and works.
func TestHalfRequests(t *testing.T) {
	l := newLab(t, 1)
	n := l.nodes[0]
	n.start()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	const half = "POST /v1/jobs HTTP/1.1\r\nHost: mesita\r\nContent-Type: application/json\r\nContent-Le"
	for range 1000 {
		c, err := net.Dial("unix", n.socket)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		if _, err := io.WriteString(c, half); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range n.dialIn(1000) {
		conns = append(conns, c)
		if i%2 == 0 {
			c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			if _, err := io.WriteString(c, half); err != nil {
				t.Fatal(err)
			}
		} else if _, err := c.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252}); err != nil { // half a hello
			t.Fatal(err)
		}
	}
	began := time.Now()
	for range 5 {
		n.must(http.MethodGet, "/v1/health", nil, nil)
		n.healthOverTLS()
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("ten answers took %v", d)
	}
	j := n.submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}})
	n.must(http.MethodGet, "/v1/jobs/"+j.ID+"?wait=ended&timeout=20s", nil, &j)
	if j.State != api.JobFinished {
		t.Errorf("job %s is %s", j.ID, j.State)
	}
}

// dialIn opens connections to the node's port from within its network.
func (n *labNode) dialIn(count int) []net.Conn {
	n.t.Helper()
	var out []net.Conn
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		f, err := os.Open("/run/netns/" + n.ns)
		if err == nil {
			err = errors.Join(unix.Setns(int(f.Fd()), unix.CLONE_NEWNET), f.Close())
		}
		for i := 0; i < count && err == nil; i++ {
			var c net.Conn
			if c, err = net.DialTimeout("tcp", n.ip+":5050", 10*time.Second); err == nil {
				out = append(out, c)
			}
		}
		failed <- err
	}()
	if err := <-failed; err != nil {
		n.t.Fatal(err)
	}
	return out
}

func (n *labNode) healthOverTLS() {
	n.t.Helper()
	c := tls.Client(n.dialIn(1)[0], &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		n.t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET /v1/health HTTP/1.1\r\nHost: mesita\r\n\r\n"); err != nil {
		n.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		n.t.Errorf("health over TLS is %s", res.Status)
	}
}
