package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// lab is a set of nodes of the real binary, each in a network namespace of its
// own on one bridge. Everything is ended and removed with the test.
type lab struct {
	t     *testing.T
	bin   string
	dir   string
	id    string // of namespaces, interfaces and slices
	nodes []*labNode
}

type labNode struct {
	*lab
	name, ns, ip string
	dir, socket  string
	wrap         []string // a command that starts the daemon
	args         []string
	cmd          *exec.Cmd
	done         chan struct{}
	out          *syncBuffer
	http         *http.Client
}

// syncBuffer is a buffer that a process writes while the test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var build struct {
	once sync.Once
	path string
	err  error
}

// binary builds mesita once for all tests.
func binary(t *testing.T) string {
	t.Helper()
	build.once.Do(func() {
		dir, err := os.MkdirTemp("", "mesita-bin-")
		if err != nil {
			build.err = err
			return
		}
		build.path = filepath.Join(dir, "mesita")
		c := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", build.path, "..")
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if build.path != "" {
		os.RemoveAll(filepath.Dir(build.path))
	}
	os.Exit(code)
}

// newLab makes a bridge in a namespace and n nodes, none of them started.
func newLab(t *testing.T, n int) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root: the test makes network namespaces")
	}
	l := &lab{t: t, bin: binary(t), dir: t.TempDir(), id: fmt.Sprintf("mi%x", time.Now().UnixNano()&0xffffff)}
	if err := os.Chmod(l.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l.ip("netns", "add", l.id)
	t.Cleanup(func() { l.try("ip", "netns", "del", l.id) })
	l.ip("-n", l.id, "link", "add", "br0", "type", "bridge")
	l.ip("-n", l.id, "link", "set", "br0", "up")
	for i := 1; i <= n; i++ {
		l.addNode(i)
	}
	return l
}

func (l *lab) addNode(i int) *labNode {
	l.t.Helper()
	n := &labNode{lab: l, name: fmt.Sprintf("n%d", i), ns: fmt.Sprintf("%s-%d", l.id, i), ip: fmt.Sprintf("10.77.0.%d", i)}
	n.dir = filepath.Join(l.dir, n.name)
	n.socket = n.dir + ".sock"
	n.http = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", n.socket)
	}}, Timeout: 30 * time.Second}
	l.ip("netns", "add", n.ns)
	l.t.Cleanup(func() { l.try("ip", "netns", "del", n.ns) })
	l.ip("-n", l.id, "link", "add", "v"+strconv.Itoa(i), "type", "veth", "peer", "name", "eth0", "netns", n.ns)
	l.ip("-n", l.id, "link", "set", "v"+strconv.Itoa(i), "master", "br0", "up")
	l.ip("-n", n.ns, "addr", "add", n.ip+"/24", "dev", "eth0")
	l.ip("-n", n.ns, "link", "set", "eth0", "up")
	l.ip("-n", n.ns, "link", "set", "lo", "up")
	l.nodes = append(l.nodes, n)
	l.t.Cleanup(n.wipe)
	return n
}

func (l *lab) ip(args ...string) {
	l.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// try runs a command whose failure does not matter: what it removes may be
// gone.
func (l *lab) try(name string, args ...string) { _ = exec.Command(name, args...).Run() }

func (n *labNode) slice() string { return "mesita-" + n.ns + ".slice" }

// launch starts the daemon: launch("start") or launch("join", addr, …).
func (n *labNode) launch(verb string, args ...string) {
	n.t.Helper()
	n.args = slices.Concat([]string{"--net=/run/netns/" + n.ns}, n.wrap, []string{n.bin, "node", verb}, args)
	n.args = append(n.args, "--foreground", "--name", n.name, "--data", n.dir,
		"--socket", n.socket, "--listen", n.ip+":5050", "--slice", n.slice(), "--resources", "cpus=4,mem=2GiB,disk=2GiB", "--attr", "rack="+n.name)
	n.out = &syncBuffer{}
	// Not `ip netns exec`: that one mounts a /sys without cgroups.
	n.cmd = exec.Command("nsenter", n.args...)
	log, err := os.OpenFile(n.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	n.cmd.Stdout, n.cmd.Stderr = n.out, log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.done = make(chan struct{})
	go func(c *exec.Cmd, done chan struct{}) { _ = c.Wait(); close(done) }(n.cmd, n.done)
}

func (n *labNode) awaitReady() {
	n.t.Helper()
	n.await(40*time.Second, n.name+" to be ready", func() bool {
		select {
		case <-n.done:
			n.t.Fatalf("%s ended before it was ready", n.name)
		default:
		}
		return strings.HasPrefix(n.out.String(), "ready ")
	})
}

func (n *labNode) start() {
	n.t.Helper()
	n.launch("start")
	n.awaitReady()
}

// kill ends the daemon with -9 (nsenter has become it).
func (n *labNode) kill() {
	n.t.Helper()
	if err := n.cmd.Process.Kill(); err != nil {
		n.t.Fatal(err)
	}
	<-n.done
}

func (n *labNode) terminate() {
	n.t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		n.t.Fatal(err)
	}
	select {
	case <-n.done:
	case <-time.After(30 * time.Second):
		n.t.Fatalf("%s did not end within 30 s of SIGTERM", n.name)
	}
}

// keepers finds this node's keeper by its command line.
func (n *labNode) keepers() []int { return pidsOf(n.bin+"\x00keeper\x00", n.dir+"/") }

// pidsOf lists the processes whose command line has all the parts.
func pidsOf(parts ...string) []int {
	var out []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
next:
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, p := range parts {
			if !bytes.Contains(b, []byte(p)) {
				continue next
			}
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		out = append(out, pid)
	}
	return out
}

// powerOff ends everything on the node at once, as a power cut does.
func (n *labNode) powerOff() {
	if n.cmd != nil {
		_ = n.cmd.Process.Kill() // it may have ended
		<-n.done
	}
	for _, pid := range n.keepers() {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		_ = os.WriteFile(filepath.Join(root, n.slice(), "cgroup.kill"), []byte("1"), 0) // where there is one
	}
}

// wipe removes all traces of the node from the machine.
func (n *labNode) wipe() {
	n.powerOff()
	if n.t.Failed() {
		log, _ := os.ReadFile(n.dir + ".log")
		n.t.Logf("log of %s:\n%s", n.name, tail(log, 6000))
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		left := false
		for _, root := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} {
			tops, _ := filepath.Glob(root + n.slice())
			for _, top := range tops {
				left = !removeGroups(top) || left
			}
		}
		if !left {
			return
		}
	}
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

func removeGroups(dir string) bool {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeGroups(filepath.Join(dir, e.Name()))
		}
	}
	err := syscall.Rmdir(dir)
	return err == nil || err == syscall.ENOENT
}

// await waits for a condition; tests never sleep for a fixed time.
func (l *lab) await(limit time.Duration, what string, cond func() bool) {
	l.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			l.t.Fatalf("waited %s for %s", limit, what)
		}
	}
}

// call sends JSON over the node's socket and decodes the answer.
func (n *labNode) call(method, path string, in, out any) error {
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
		var e struct{ Error *api.Error }
		if json.Unmarshal(b, &e) == nil && e.Error != nil {
			return e.Error
		}
		return fmt.Errorf("%s: %s", res.Status, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

func (n *labNode) must(method, path string, in, out any) {
	n.t.Helper()
	if err := n.call(method, path, in, out); err != nil {
		n.t.Fatalf("%s: %s %s: %v", n.name, method, path, err)
	}
}

func (n *labNode) submit(spec map[string]any) api.Job {
	n.t.Helper()
	var j api.Job
	n.must(http.MethodPost, "/v1/jobs", spec, &j)
	return j
}

func (n *labNode) tasks(job string) []*api.Task {
	var l struct{ Items []*api.Task }
	if n.call(http.MethodGet, "/v1/tasks?all=1&job="+job, nil, &l) != nil {
		return nil
	}
	return l.Items
}

func (n *labNode) running(job string) []*api.Task {
	var out []*api.Task
	for _, t := range n.tasks(job) {
		if t.State == api.TaskRunning {
			out = append(out, t)
		}
	}
	return out
}

func (n *labNode) members() []api.NodeStatus {
	var l struct{ Items []api.NodeStatus }
	if n.call(http.MethodGet, "/v1/nodes", nil, &l) != nil {
		return nil
	}
	return l.Items
}

// token makes a join token.
func (n *labNode) token(r api.TokenRequest) string {
	n.t.Helper()
	var g struct{ Secret string }
	n.must(http.MethodPost, "/v1/tokens", r, &g)
	return g.Secret
}

// leader finds who leads, as seen by any node that answers.
func (l *lab) leader() *labNode {
	for _, n := range l.nodes {
		var h api.Health
		if n.call(http.MethodGet, "/v1/health", nil, &h) != nil {
			continue
		}
		for _, m := range l.nodes {
			if m.name == h.Leader {
				return m
			}
		}
	}
	return nil
}

// other is a node that is none of those.
func (l *lab) other(not ...*labNode) *labNode {
next:
	for _, n := range l.nodes {
		for _, x := range not {
			if n == x {
				continue next
			}
		}
		return n
	}
	l.t.Fatal("no other node")
	return nil
}

// form starts all nodes as one cluster and waits for the voters.
func (l *lab) form() {
	l.t.Helper()
	first := l.nodes[0]
	first.start()
	tok := first.token(api.TokenRequest{Kind: api.TokenJoin})
	for _, n := range l.nodes[1:] {
		n.launch("join", first.ip, "--token", tok)
		n.awaitReady()
	}
	l.awaitVoters(min(len(l.nodes), 3))
}

func (l *lab) awaitVoters(want int) {
	l.t.Helper()
	l.await(30*time.Second, fmt.Sprintf("%d voters", want), func() bool {
		n := l.leader()
		if n == nil {
			return false
		}
		voters := 0
		for _, m := range n.members() {
			if strings.HasPrefix(m.Role, "voter") {
				voters++
			}
		}
		return voters == want
	})
}

// cli runs the command line against a node and returns its output and exit
// code.
func (n *labNode) cli(args ...string) (stdout, stderr string, code int) {
	n.t.Helper()
	c := exec.Command(n.bin, append([]string{"--socket", n.socket}, args...)...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		n.t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

func sleeper(name string, count int) map[string]any {
	return map[string]any{"kind": "service", "name": name, "count": count, "cpus": 0.05, "mem": "16MiB", "stopGrace": "1s",
		"command": []string{"/bin/sh", "-c", "while :; do echo tick; sleep 0.2; done", "mesita-test-" + name}}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}
