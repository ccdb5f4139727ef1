package integration

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
	"github.com/mesita/mesita/integration/lab"
)

// writerEnv makes the test binary a program that writes bytes of chance: seed,
// bytes in one write, bytes to standard output, bytes to standard error.
const writerEnv = "MESITA_TEST_WRITER"

// chance are the bytes that a writer writes to its two outputs.
func chance(how string) (size int, out [2][]byte) {
	var seed, stdout, stderr int
	if _, err := fmt.Sscanf(how, "%d,%d,%d,%d", &seed, &size, &stdout, &stderr); err != nil {
		panic(err)
	}
	r := rand.NewChaCha8([32]byte{byte(seed)})
	for i, n := range []int{stdout, stderr} {
		out[i] = make([]byte, n)
		_, _ = r.Read(out[i]) // always nil
	}
	return size, out
}

func writeChance(how string) {
	size, out := chance(how)
	for len(out[0])+len(out[1]) > 0 {
		for i, f := range []*os.File{os.Stdout, os.Stderr} {
			n := min(size, len(out[i]))
			if _, err := f.Write(out[i][:n]); err != nil {
				os.Exit(3)
			}
			out[i] = out[i][n:]
		}
	}
}

func digest(b []byte) string { return fmt.Sprintf("%d bytes, %x", len(b), sha256.Sum256(b)) }

// What a program writes is what logs and exec give back, whatever the bytes and
// the sizes of its writes, through nodes that pass it on.
func TestBytesComeBack(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	leader := l.Leader()
	home := l.Other(leader)
	third := l.Other(leader, home)
	on := []string{"node.name=" + home.Name}
	base := map[string]any{"kind": "service", "name": "base", "unconfined": []string{"tmp"}, "cpus": 0.05, "mem": "64MiB", "constraints": on, "stopGrace": "1s", "command": []string{"/bin/sleep", "600"}}
	leader.Submit(base)
	settledTask := func(job string) *api.Task {
		var run []*api.Task
		l.Await(lab.Patience, job+" to run", func() bool { run = leader.Running(job); return len(run) == 1 })
		return run[0]
	}
	beside := settledTask("base")
	cl := newClientOf(t, third)
	for i, size := range []int{1, 7, 255, 4096, 4097, 65536, 65537, 1 << 20} {
		total := min(size*5000, 3<<20)
		how := fmt.Sprintf("%d,%d,%d,%d", i, size, total, total/3)
		_, want := chance(how)
		j := leader.Submit(map[string]any{"kind": "batch", "cpus": 0.5, "mem": "64MiB", "logMax": "64MiB", "constraints": on, "env": map[string]string{writerEnv: how}, "command": []string{os.Args[0]}})
		j = leader.AwaitJob(j.ID, "ended")
		if j.State != api.JobFinished {
			t.Fatalf("writes of %d: the job is %s", size, j.State)
		}
		stdout, stderr, code := third.CLI("logs", j.ID)
		if code != 0 || digest([]byte(stdout)) != digest(want[0]) || digest([]byte(stderr)) != digest(want[1]) {
			t.Errorf("logs of writes of %d: code %d, %s and %s, want %s and %s", size, code, digest([]byte(stdout)), digest([]byte(stderr)), digest(want[0]), digest(want[1]))
		}
		raw, missing := rawLog(t, third, j.ID+".0", "stdout")
		if digest(raw) != digest(want[0]) || missing != "0" {
			t.Errorf("raw log of writes of %d: %s, missing %q, want %s", size, digest(raw), missing, digest(want[0]))
		}
		stdout, stderr, code = third.CLI("exec", beside.ID, "--", "/usr/bin/env", writerEnv+"="+how, os.Args[0])
		if code != 0 || digest([]byte(stdout)) != digest(want[0]) || digest([]byte(stderr)) != digest(want[1]) {
			t.Errorf("exec of writes of %d: code %d, %s and %s, want %s and %s", size, code, digest([]byte(stdout)), digest([]byte(stderr)), digest(want[0]), digest(want[1]))
		}
		var back slow
		c, err := cl.Exec(t.Context(), beside.ID, client.ExecOptions{Command: []string{"/bin/cat"}, Stdin: bytes.NewReader(want[0]), Stdout: &back, Stderr: io.Discard})
		if err != nil || c != 0 || digest(back.Bytes()) != digest(want[0]) {
			t.Errorf("cat of %d bytes: code %d, %v, %s, want %s", total, c, err, digest(back.Bytes()), digest(want[0]))
		}
	}
}

// A reader who takes nothing until a task has written a hundred times what its
// log may hold gets the beginning and the end, is told how many bytes are
// missing, and what follows them begins with a line.
func TestSlowReaderIsToldWhatIsMissing(t *testing.T) {
	l := newLab(t, 2)
	l.Form()
	leader := l.Leader()
	home := l.Other(leader)
	line := "a line of thirty-two characters\n"
	const count = 200_000
	script := "until [ -e " + l.Dir + "/go ]; do sleep 0.1; done; yes 'a line of thirty-two characters' | head -n " + fmt.Sprint(count)
	j := leader.Submit(map[string]any{"kind": "batch", "cpus": 0.5, "mem": "64MiB", "logMax": "64KiB", "constraints": []string{"node.name=" + home.Name}, "command": []string{"/bin/sh", "-c", script}})
	j = leader.AwaitJob(j.ID, "running")
	var errs bytes.Buffer
	c := exec.Command(leader.Bin, "--socket", leader.Socket, "logs", "-f", j.ID)
	c.Stderr = &errs
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	touch(t, l.Dir+"/go")
	j = leader.AwaitJob(j.ID, "ended")
	got, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	missing := 0
	for told := range strings.Lines(errs.String()) {
		var n int
		if _, err := fmt.Sscanf(told, "mesita: "+j.ID+".0: %d bytes of stdout are missing here: ", &n); err != nil || n == 0 {
			t.Errorf("told %q", told)
		}
		missing += n
	}
	if missing == 0 || len(got)+missing != count*len(line) {
		t.Errorf("%d bytes there, %d told missing, %d written", len(got), missing, count*len(line))
	}
	if !strings.HasSuffix(string(got), strings.Repeat(line, 500)) || len(got) < 64<<10 {
		t.Errorf("the end is not there: %d bytes", len(got))
	}
}

// slow is a reader of output that takes its time now and then.
type slow struct {
	bytes.Buffer
	taken int
}

func (s *slow) Write(p []byte) (int, error) {
	if s.taken += len(p); s.taken > 1<<20 {
		s.taken = 0
		<-time.After(1500 * time.Millisecond) // longer than a keeper waits for an output that nobody writes
	}
	return s.Buffer.Write(p)
}

func newClientOf(t *testing.T, n *lab.Node) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Socket: n.Socket})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rawLog is a log as curl gets it, and what it says is missing.
func rawLog(t *testing.T, n *lab.Node, task, stream string) (b []byte, missing string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://mesita/v1/tasks/"+task+"/logs?stream="+stream, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Accept", "application/octet-stream")
	res, err := n.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err = io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/octet-stream" {
		t.Fatalf("%s %v: %.200s, %v", res.Status, res.Header, b, err)
	}
	return b, res.Trailer.Get("X-Mesita-Missing")
}
