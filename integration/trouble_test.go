package integration

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// A program that only the submitter has is uploaded, fetched by the node that
// is to run it, and runs there.
func TestUploadedProgramRunsElsewhere(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	from := l.Leader()
	to := l.Other(from)
	program := filepath.Join(l.Dir, "hello")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$0 on $MESITA_NODE says $1\"\nexit 4\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, errs, code := from.CLI("job", "submit", "--wait", "--constraint", "node.name="+to.Name, "--name", "hello", "--", program, "moin")
	if code != 4 || !strings.Contains(errs, "uploaded hello") {
		t.Errorf("exit code %d, want the program's 4\n%s%s", code, out, errs)
	}
	logs, _, _ := from.CLI("logs", "hello")
	if !strings.Contains(logs, "on "+to.Name+" says moin") || !strings.Contains(logs, to.Dir+"/") {
		t.Errorf("it did not run from the program cache of %s: %q", to.Name, logs)
	}
	held := func(n *lab.Node) bool {
		for _, f := range glob(t, n.Dir+"/executor/blobs/*") {
			if info, err := os.Stat(f); err == nil && info.Mode().IsRegular() {
				return true
			}
		}
		return false
	}
	third := l.Other(from, to)
	if !held(from) || !held(to) || held(third) {
		t.Errorf("program held by %s: %v, %s: %v, %s: %v", from.Name, held(from), to.Name, held(to), third.Name, held(third))
	}
	// Where it came from is gone: it is run again from what the nodes hold.
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	var j api.Job
	from.Must(http.MethodGet, "/v1/jobs/hello", nil, &j)
	next := from.Submit(map[string]any{"kind": "batch", "name": "again", "command": []string{program, "tschuess"}, "program": j.Spec.Program,
		"constraints": []string{"node.name=" + third.Name}})
	next = from.AwaitJob(next.ID, "ended")
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

// The disk under the data folder is full: new work is refused in words that
// name the disk, what runs continues, and once there is room work starts again.
func TestFullDisk(t *testing.T) {
	l := newLab(t, 1)
	n := l.Nodes[0]
	if err := os.Mkdir(n.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// Of the daemon and its children alone: nobody else sees the mount.
	n.Wrap = []string{"unshare", "--mount", "--propagation", "private", "sh", "-c", "mount -t tmpfs -o size=96m mesita " + n.Dir + ` && exec "$0" "$@"`}
	n.Start()
	inside := fmt.Sprintf("/proc/%d/root%s", n.Cmd.Process.Pid, n.Dir)
	n.Submit(sleeper("on", 1))
	settled(l, n, "on", 1)
	pid := n.Running("on")[0].PID

	ballast := filepath.Join(inside, "ballast")
	fill(t, ballast)
	out, errs, code := n.CLI("job", "submit", "--wait", "--timeout", "25s", "--", "/bin/true")
	if code != 8 || !strings.Contains(errs, "the disk of "+n.Dir) || !strings.Contains(errs, n.Name) {
		t.Errorf("with a full disk a job is answered with exit code %d, want 8 and a text that names the disk\n%s%s", code, out, errs)
	}
	if run := n.Running("on"); len(run) != 1 || run[0].PID != pid || processes(l, "on") != 1 {
		t.Errorf("the running task is %+v", run)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	j := api.Job{}
	l.Await(lab.Patience, "work to be taken again", func() bool {
		return n.Call(http.MethodPost, "/v1/jobs", map[string]any{"kind": "batch", "command": []string{"/bin/true"}}, &j) == nil
	})
	j = n.AwaitJob(j.ID, "ended")
	if j.State != api.JobFinished {
		t.Errorf("job %s is %s", j.ID, j.State)
	}
	if run := n.Running("on"); len(run) != 1 || run[0].PID != pid {
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
	l.Form()
	leader := l.Leader()
	late := l.Other(leader)
	leader.Submit(sleeper("here", 3))
	settled(l, leader, "here", 3)
	late.Terminate()
	began := time.Now()
	index := busyLog(t, leader, late, 17_000)
	t.Logf("%d entries after %v", index, time.Since(began))
	late.Launch("start", "--log-level", "debug")
	late.AwaitReady()
	l.Await(lab.Patience, "the follower to have caught up", func() bool {
		var h api.Health
		return late.Call(http.MethodGet, "/v1/health", nil, &h) == nil && h.Index >= index
	})
	if log, err := os.ReadFile(late.Dir + ".log"); err != nil || !bytes.Contains(log, []byte("Installed remote snapshot")) {
		t.Errorf("the follower caught up without a snapshot (%v)", err)
	}
	settled(l, late, "here", 3)
	third := l.Other(leader, late)
	third.Kill()
	leader.Submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}}) // with its vote
}

// busyLog makes the log grow to so many entries, and returns its end.
func busyLog(t *testing.T, n, down *lab.Node, entries uint64) uint64 {
	t.Helper()
	var h api.Health
	var wg sync.WaitGroup
	var mu sync.Mutex
	reached := false
	for i := range 2 {
		spec := sleeper(fmt.Sprintf("busy%d", i), 1)
		spec["constraints"] = []string{"node.name=" + down.Name}
		n.Submit(spec)
		wg.Go(func() {
			for k := 0; ; k++ {
				if err := n.Call(http.MethodPost, fmt.Sprintf("/v1/jobs/busy%d/scale", i), map[string]int{"count": 1 + k%2}, nil); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if k%64 == 0 {
					if err := n.Call(http.MethodGet, "/v1/health", nil, &h); err != nil {
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
	n := l.Nodes[0]
	n.Start()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	const half = "POST /v1/jobs HTTP/1.1\r\nHost: mesita\r\nContent-Type: application/json\r\nContent-Le"
	for range 1000 {
		c, err := net.Dial("unix", n.Socket)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		if _, err := io.WriteString(c, half); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range n.DialIn(1000) {
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
	for range 5 {
		n.Must(http.MethodGet, "/v1/health", nil, nil)
		healthOverTLS(n)
	}
	j := n.Submit(map[string]any{"kind": "batch", "command": []string{"/bin/true"}})
	j = n.AwaitJob(j.ID, "ended")
	if j.State != api.JobFinished {
		t.Errorf("job %s is %s", j.ID, j.State)
	}
}

func healthOverTLS(n *lab.Node) {
	n.T.Helper()
	c := tls.Client(n.DialIn(1)[0], &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), lab.Patience)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		n.T.Fatalf("%v", err)
	}
	if _, err := io.WriteString(c, "GET /v1/health HTTP/1.1\r\nHost: mesita\r\n\r\n"); err != nil {
		n.T.Fatalf("%v", err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		n.T.Fatalf("%v", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		n.T.Errorf("health over TLS is %s", res.Status)
	}
}
