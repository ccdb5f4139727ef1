package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// node is one mesita process and a client of its socket.
type node struct {
	name   string
	dir    string
	socket string
	http   *http.Client
	args   []string
	bin    string
	cmd    *exec.Cmd
	out    *readyLine
}

// readyLine waits for the line that says that a node serves.
type readyLine struct {
	mu    sync.Mutex
	text  []byte
	ready chan struct{}
	once  sync.Once
}

func (r *readyLine) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, p...)
	if bytes.HasPrefix(r.text, []byte("ready ")) {
		r.once.Do(func() { close(r.ready) })
	}
	return len(p), nil
}

// newNode prepares a node; index tells its address 127.0.7.index.
func (b *bench) newNode(index int, verb string, args ...string) *node {
	name := fmt.Sprintf("b%d", index)
	dir := filepath.Join(b.dir, fmt.Sprintf("%s-%d", name, time.Now().UnixNano()))
	n := &node{name: name, dir: dir, socket: dir + ".sock", bin: b.mesita}
	n.args = append(append([]string{"node", verb}, args...), "--foreground", "--name", name, "--data", dir, "--socket", n.socket,
		"--listen", fmt.Sprintf("127.0.7.%d:5950", index), "--slice", "mesita-bench-"+name+".slice", "--log-level", "warn",
		"--resources", "cpus=256,mem=20GiB,disk=10GiB")
	n.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", n.socket)
	}}}
	return n
}

// start runs the process; it does not wait until it is ready.
func (n *node) start() error {
	n.out = &readyLine{ready: make(chan struct{})}
	n.cmd = exec.Command(n.bin, n.args...)
	log, err := os.OpenFile(n.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd.Stdout, n.cmd.Stderr = n.out, log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return n.cmd.Start()
}

func (n *node) startReady() error {
	if err := n.start(); err != nil {
		return err
	}
	select {
	case <-n.out.ready:
		return nil
	case <-time.After(60 * time.Second):
		log, _ := os.ReadFile(n.dir + ".log")
		return fmt.Errorf("node %s was not ready after a minute:\n%s", n.name, log)
	}
}

func (n *node) kill() {
	_ = n.cmd.Process.Kill() // it may be gone
	_ = n.cmd.Wait()         // killed
}

// freeze makes the node silent, as one without power or network is: neither the
// daemon nor the parent of its tasks answers, and no connection is closed.
func (n *node) freeze() (thaw func(), err error) {
	pids := append(n.keeperPIDs(), n.cmd.Process.Pid)
	for _, pid := range pids {
		err = errors.Join(err, syscall.Kill(pid, syscall.SIGSTOP))
	}
	return func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT) // it may be gone
		}
	}, err
}

// end stops the node and what it ran.
func (n *node) end() {
	if n.cmd == nil || n.cmd.Process == nil {
		return
	}
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = n.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(15 * time.Second):
		n.kill()
	}
	n.endKeeper()
}

// endKeeper ends the keeper and all tasks, by the slice that only this node
// uses.
func (n *node) endKeeper() {
	for _, kpid := range n.keeperPIDs() {
		_ = syscall.Kill(kpid, syscall.SIGKILL) // it may be gone
	}
	dirs, _ := filepath.Glob("/sys/fs/cgroup/unified/mesita-bench-" + n.name + ".slice")
	more, _ := filepath.Glob("/sys/fs/cgroup/mesita-bench-" + n.name + ".slice")
	for _, d := range append(dirs, more...) {
		_ = os.WriteFile(filepath.Join(d, "cgroup.kill"), []byte("1"), 0) // older kernels have none
	}
}

// keeperPIDs finds the keeper of this node by its command line.
func (n *node) keeperPIDs() []int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var out []int
	for _, f := range files {
		b, _ := os.ReadFile(f)
		args := strings.Split(string(b), "\x00")
		if len(args) > 2 && args[1] == "keeper" && strings.HasPrefix(strings.Join(args, " "), n.bin+" keeper") && strings.Contains(string(b), n.dir+"/") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			out = append(out, pid)
		}
	}
	return out
}

// call sends JSON to the node and decodes its answer.
func (n *node) call(method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://mesita"+path, body)
	if err != nil {
		return err
	}
	res, err := n.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

type health struct {
	Leader string `json:"leader"`
	Quorum bool   `json:"quorum"`
	Index  uint64 `json:"index"`
}

type job struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Counts struct{ Pending, Starting, Running, Finished, Failed int }
}

type task struct {
	ID    string `json:"id"`
	Node  string `json:"node"`
	State string `json:"state"`
}

type spec map[string]any

func batch(args ...string) spec {
	return spec{"kind": "batch", "command": args, "cpus": 0.1, "mem": "8MiB"}
}

// submit submits a job and returns it.
func (n *node) submit(s spec) (job, error) {
	var j job
	err := n.call(http.MethodPost, "/v1/jobs", s, &j)
	return j, err
}

// events calls f with the data of each event after index until f says false.
func (n *node) events(ctx context.Context, after uint64, f func(data []byte) bool) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://mesita/v1/events?after=%d", after), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	res, err := n.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:")); ok && !f(bytes.TrimSpace(data)) {
			return nil
		}
	}
	return lines.Err()
}

// await polls until cond holds.
func await(what string, limit time.Duration, every time.Duration, cond func() bool) error {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(every) {
		if cond() {
			return nil
		}
	}
	return fmt.Errorf("waited %s for %s", limit, what)
}

// awaitLeader waits until the node serves with a leader.
func (n *node) awaitLeader(every time.Duration) error {
	return await("a leader", 30*time.Second, every, func() bool {
		var h health
		return n.call(http.MethodGet, "/v1/health", nil, &h) == nil && h.Leader != "" && h.Quorum
	})
}
