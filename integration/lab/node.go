package lab

import (
	"bytes"
	"context"
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
	"time"
)

// Node is one server of a lab.
type Node struct {
	*Lab
	Name, NS, IP string
	Dir, Socket  string
	Bin          string   // what it starts
	Wrap         []string // a command that starts the daemon
	CPUs         int      // that it offers, whatever the machine has
	Cmd          *exec.Cmd
	Done         chan struct{} // closed when Cmd has ended
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

// AddNode makes a node with the address 10.77.0.i.
func (l *Lab) AddNode(i int) *Node {
	l.T.Helper()
	n := &Node{Lab: l, Name: fmt.Sprintf("n%d", i), NS: fmt.Sprintf("%s-%d", l.ID, i), IP: fmt.Sprintf("10.77.0.%d", i), Bin: l.Bin, CPUs: 4}
	n.Dir = filepath.Join(l.Dir, n.Name)
	n.Socket = n.Dir + ".sock"
	n.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", n.Socket)
	}}, Timeout: 30 * time.Second}
	l.Run("ip", "netns", "add", n.NS)
	l.T.Cleanup(func() { l.try("ip", "netns", "del", n.NS) })
	if err := l.Wire.plug(n); err != nil {
		l.T.Fatalf("%v", err)
	}
	l.Run("ip", "-n", n.NS, "addr", "add", n.IP+"/24", "dev", "eth0")
	l.Run("ip", "-n", n.NS, "link", "set", "eth0", "mtu", strconv.Itoa(mtu), "up")
	l.Run("ip", "-n", n.NS, "link", "set", "lo", "up")
	l.Nodes = append(l.Nodes, n)
	l.T.Cleanup(n.wipe)
	return n
}

// Move gives the node another address, for its next start.
func (n *Node) Move(ip string) {
	n.T.Helper()
	n.Run("ip", "-n", n.NS, "addr", "flush", "dev", "eth0")
	n.Run("ip", "-n", n.NS, "addr", "add", ip+"/24", "dev", "eth0")
	n.Wire.move(n, ip)
}

// Slice is the cgroup below which the node's tasks run.
func (n *Node) Slice() string { return "mesita-" + n.NS + ".slice" }

// Launch starts the daemon: Launch("start") or Launch("join", addr, …).
func (n *Node) Launch(verb string, args ...string) {
	n.T.Helper()
	n.out = &syncBuffer{}
	n.LaunchTo(n.out, verb, args...)
}

// LaunchTo is Launch with another reader of what the daemon prints, so that
// AwaitReady cannot be used.
func (n *Node) LaunchTo(out io.Writer, verb string, args ...string) {
	n.T.Helper()
	argv := slices.Concat([]string{"--net=/run/netns/" + n.NS}, n.Wrap, []string{n.Bin, "node", verb}, args)
	argv = append(argv, "--foreground", "--name", n.Name, "--data", n.Dir,
		"--socket", n.Socket, "--listen", n.IP+":5050", "--slice", n.Slice(), "--resources", fmt.Sprintf("cpus=%d,mem=2GiB,disk=2GiB", n.CPUs), "--attr", "rack="+n.Name)
	// Not `ip netns exec`: that one mounts a /sys without cgroups.
	n.Cmd = exec.Command("nsenter", argv...)
	log, err := os.OpenFile(n.Dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.T.Fatalf("%v", err)
	}
	defer log.Close()
	n.Cmd.Stdout, n.Cmd.Stderr = out, log
	n.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := n.Cmd.Start(); err != nil {
		n.T.Fatalf("%v", err)
	}
	n.Done = make(chan struct{})
	go func(c *exec.Cmd, done chan struct{}) { _ = c.Wait(); close(done) }(n.Cmd, n.Done)
}

// Ready reports whether the daemon said that it serves.
func (n *Node) Ready() bool { return n.out != nil && strings.HasPrefix(n.out.String(), "ready ") }

// API is the address that the daemon printed as it was ready.
func (n *Node) API() string {
	_, after, _ := strings.Cut(n.out.String(), " api=")
	api, _, _ := strings.Cut(after, " ")
	return api
}

// Ended reports whether the daemon is not running.
func (n *Node) Ended() bool {
	if n.Cmd == nil {
		return true
	}
	select {
	case <-n.Done:
		return true
	default:
		return false
	}
}

// AwaitReady waits until the daemon serves.
func (n *Node) AwaitReady() {
	n.T.Helper()
	n.Await(Patience, n.Name+" to be ready", func() bool {
		if n.Ended() {
			n.T.Fatalf("%s ended before it was ready", n.Name)
		}
		return n.Ready()
	})
}

// Start starts a node that is one already, or makes a cluster of it.
func (n *Node) Start() {
	n.T.Helper()
	n.Launch("start")
	n.AwaitReady()
}

// Kill ends the daemon with -9 (nsenter has become it).
func (n *Node) Kill() {
	n.T.Helper()
	if err := n.Cmd.Process.Kill(); err != nil {
		n.T.Fatalf("%v", err)
	}
	<-n.Done
}

// Terminate stops the daemon as systemd does.
func (n *Node) Terminate() {
	n.T.Helper()
	Terminate(n)
}

// Terminate stops daemons, all at once.
func Terminate(nodes ...*Node) {
	for _, n := range nodes {
		n.T.Helper()
		if err := n.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			n.T.Fatalf("%v", err)
		}
	}
	late := time.After(Patience)
	for _, n := range nodes {
		select {
		case <-n.Done:
		case <-late:
			n.T.Fatalf("%s did not end within %s of SIGTERM", n.Name, Patience)
		}
	}
}

// Keepers finds this node's keepers by their command line.
func (n *Node) Keepers() []int { return n.KeepersOf("") }

// KeepersOf finds those keepers of this node that run that program.
func (n *Node) KeepersOf(bin string) []int {
	return PidsOf(bin+"\x00keeper\x00", "\x00--dir\x00"+n.Dir+"/")
}

// PidsOf lists the processes whose command line has all the parts.
func PidsOf(parts ...string) []int {
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

// groups are the folders of the node's slice in the machine's hierarchies.
func (n *Node) groups() []string {
	var out []string
	for _, root := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} {
		tops, _ := filepath.Glob(root + n.Slice())
		out = append(out, tops...)
	}
	return out
}

// PowerOff ends everything on the node at once, as a power cut does.
func (n *Node) PowerOff() {
	if n.Cmd != nil {
		_ = n.Cmd.Process.Kill() // it may have ended
		<-n.Done
	}
	for _, pid := range n.Keepers() {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
	for _, top := range n.groups() {
		_ = os.WriteFile(filepath.Join(top, "cgroup.kill"), []byte("1"), 0) // where there is one
	}
}

// wipe removes all traces of the node from the machine.
func (n *Node) wipe() {
	n.PowerOff()
	if n.T.Failed() {
		log, _ := os.ReadFile(n.Dir + ".log")
		n.T.Logf("log of %s:\n%s", n.Name, log[max(0, len(log)-6000):])
	}
	Until(5*time.Second, func() bool {
		for _, top := range n.groups() {
			if !removeGroups(top) {
				return false
			}
		}
		return true
	})
}

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

// Left lists what is left of the node on the machine once it was stopped:
// processes and groups.
func (n *Node) Left() []string {
	var out []string
	for _, pid := range PidsOf(n.Dir + "/") {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // it may just have ended
		out = append(out, fmt.Sprintf("process %d: %q", pid, line))
	}
	for _, top := range n.groups() {
		_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error { // what vanishes meanwhile is not left
			if err == nil && d.Name() == "cgroup.procs" {
				if b, _ := os.ReadFile(path); len(b) > 0 {
					out = append(out, fmt.Sprintf("processes in %s: %s", filepath.Dir(path), strings.Fields(string(b))))
				}
			} else if err == nil && d.IsDir() && path != top && n.Ended() {
				out = append(out, "group "+path)
			}
			return nil
		})
	}
	return out
}

// EnvOf is a variable of a process's environment; "" if it is gone.
func EnvOf(pid int, name string) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)) // it may just have ended
	for _, v := range strings.Split(string(b), "\x00") {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}
