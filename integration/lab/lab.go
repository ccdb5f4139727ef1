package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
)

// T is what the lab needs of a test: a *testing.T, or something else that ends
// the goroutine which calls Fatalf.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
	Cleanup(f func())
	Failed() bool
	TempDir() string
}

// Lab is a set of nodes. Everything is ended and removed with the test.
type Lab struct {
	T     T
	Bin   string // the binary that nodes start
	Dir   string
	ID    string // of namespaces and slices
	Nodes []*Node
	Wire  *Wire
}

var builds struct {
	sync.Mutex
	dir  string
	path string
}

// Binary builds mesita once for a process; Tidy removes it.
func Binary(t T) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	if builds.path != "" {
		return builds.path
	}
	dir, err := os.MkdirTemp("", "mesita-bin-")
	if err != nil {
		t.Fatalf("%v", err)
	}
	builds.dir = dir
	Build(t, Root(t), filepath.Join(dir, "mesita"))
	builds.path = filepath.Join(dir, "mesita")
	return builds.path
}

// Tidy removes what Binary built.
func Tidy() {
	if builds.dir != "" {
		os.RemoveAll(builds.dir)
	}
}

// Root is the folder of the module.
func Root(t T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatalf("find the module: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// Build builds the program of the module in a folder.
func Build(t T, module, to string) {
	t.Helper()
	c := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w -funcalign=16", "-o", to, ".")
	c.Dir = module
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}

// BuildAt builds the program as it was at a commit of this clone, in an empty
// folder.
func BuildAt(t T, commit, dir string) string {
	t.Helper()
	src := filepath.Join(dir, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	pack := exec.Command("sh", "-c", `git -C "$0" archive "$1" | tar -x -C "$2"`, Root(t), commit, src)
	if out, err := pack.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("this clone has no commit %s, from which upgrades have to work: clone with the whole history (%v: %s)", commit, err, out)
	}
	bin := filepath.Join(dir, "mesita")
	Build(t, src, bin)
	return bin
}

// New makes a switch and n nodes, none of them started.
func New(t T, bin string, n int) *Lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatalf("needs root: it makes network namespaces")
	}
	l := &Lab{T: t, Bin: bin, Dir: t.TempDir(), ID: fmt.Sprintf("mi%x", time.Now().UnixNano()&0xffffff), Wire: newWire()}
	t.Cleanup(l.Wire.close)
	if err := os.Chmod(l.Dir, 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	// Tasks of other users have their folders below. One that is open stays as it is.
	if fi, err := os.Stat(filepath.Dir(l.Dir)); err != nil || fi.Mode()&0o001 == 0 {
		if err := os.Chmod(filepath.Dir(l.Dir), 0o711); err != nil {
			t.Fatalf("%v", err)
		}
	}
	for i := 1; i <= n; i++ {
		l.AddNode(i)
	}
	return l
}

// Run runs a command that has to succeed.
func (l *Lab) Run(name string, args ...string) {
	l.T.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		l.T.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// try runs a command whose failure does not matter: what it removes may be
// gone.
func (l *Lab) try(name string, args ...string) { _ = exec.Command(name, args...).Run() }

// Patience is how long a test waits for what is to happen. It only ends a test
// that is stuck: a machine that does ten other things must not come near it.
const Patience = 2 * time.Minute

// Await waits for a condition; tests never sleep for a fixed time.
func (l *Lab) Await(limit time.Duration, what string, cond func() bool) {
	l.T.Helper()
	if !Until(limit, cond) {
		l.T.Fatalf("waited %s for %s", limit, what)
	}
}

// Until asks again and again whether a condition holds, at most that long.
func Until(limit time.Duration, cond func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			return cond()
		}
	}
	return true
}

// Pause lets time pass in which something may happen, less if ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Leader waits until one leads, and finds who.
func (l *Lab) Leader() (n *Node) {
	l.T.Helper()
	l.Await(Patience, "a leader", func() bool { n = l.LeaderNow(); return n != nil })
	return n
}

// LeaderNow finds who leads, as seen by any node that answers; nil if nobody
// does.
func (l *Lab) LeaderNow() *Node {
	for _, n := range l.Nodes {
		var h api.Health
		if n.Call("GET", "/v1/health", nil, &h) != nil {
			continue
		}
		for _, m := range l.Nodes {
			if m.Name == h.Leader {
				return m
			}
		}
	}
	return nil
}

// Other is a node that is none of those.
func (l *Lab) Other(not ...*Node) *Node {
next:
	for _, n := range l.Nodes {
		for _, x := range not {
			if n == x {
				continue next
			}
		}
		return n
	}
	l.T.Fatalf("no other node")
	return nil
}

// Form starts all nodes as one cluster and waits for the voters.
func (l *Lab) Form() {
	l.T.Helper()
	first := l.Nodes[0]
	first.Start()
	tok := first.Token(api.TokenRequest{Kind: api.TokenJoin})
	for _, n := range l.Nodes[1:] {
		n.Launch("join", first.IP, "--token", tok)
		n.AwaitReady()
	}
	l.AwaitVoters(Voters(len(l.Nodes)))
}

// Voters is how many of so many nodes vote.
func Voters(nodes int) int {
	if nodes < 5 {
		return min(nodes, 3)
	}
	return 5
}

// AwaitVoters waits until so many nodes vote.
func (l *Lab) AwaitVoters(want int) {
	l.T.Helper()
	l.Await(Patience, fmt.Sprintf("%d voters", want), func() bool {
		n := l.LeaderNow()
		if n == nil {
			return false
		}
		voters := 0
		for _, m := range n.Members() {
			if strings.HasPrefix(m.Role, "voter") {
				voters++
			}
		}
		return voters == want
	})
}
