package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Machine is a node's server with everything in its usual place: a host name, /var/lib,
// /run, a home and processes of its own, and the binary on PATH. So what people type on a
// server can be typed on it as it is.
type Machine struct {
	*Node
	Work string // where its commands begin; all machines of a lab share it
	home string
	path string
	pid  string // of its first process
}

// AddMachine makes a machine with nothing on it but the binary. Its node is started by
// commands, as by people.
func (l *Lab) AddMachine(i int, name, ip string) *Machine {
	l.T.Helper()
	n := l.AddNode(i)
	n.Name = name
	n.Move(ip)
	gateway := ip[:strings.LastIndexByte(ip, '.')] + ".1"
	l.Run("ip", "-n", n.NS, "route", "add", "default", "via", gateway)
	m := &Machine{Node: n, Work: filepath.Join(l.Dir, "work"), home: filepath.Join(n.Dir, "home"), path: filepath.Dir(n.Bin) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, dir := range []string{m.Work, m.home, filepath.Join(n.Dir, "lib")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			l.T.Fatalf("%v", err)
		}
	}
	if err := os.Symlink(filepath.Join(n.Dir, "lib/mesita/mesita.log"), n.Dir+".log"); err != nil { // which is shown of a node if a test fails
		l.T.Fatalf("%v", err)
	}
	const boot = `hostname "$1" && mount --bind "$2" /var/lib && mount -t tmpfs tmpfs /run && echo up && exec sleep infinity`
	init := exec.Command("nsenter", "--net=/run/netns/"+n.NS, "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", boot, "sh", name, filepath.Join(n.Dir, "lib"))
	out := &syncBuffer{}
	init.Stdout, init.Stderr = out, out
	if err := init.Start(); err != nil {
		l.T.Fatalf("%v", err)
	}
	ended := make(chan struct{})
	go func() { _ = init.Wait(); close(ended) }()
	l.T.Cleanup(func() { // with its first process all others of the machine end
		_ = init.Process.Kill()
		<-ended
	})
	l.Await(Patience, name+" to be up", func() bool {
		select {
		case <-ended:
			l.T.Fatalf("%s does not come up: %s", name, out)
		default:
		}
		return strings.HasPrefix(out.String(), "up")
	})
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", init.Process.Pid))
	if err != nil {
		l.T.Fatalf("%v", err)
	}
	m.pid = strings.TrimSpace(string(children))
	n.Socket = "/proc/" + m.pid + "/root/run/mesita.sock"
	return m
}

// Type runs a script on the machine, as its root would, and returns what a terminal would
// show of it, and its exit code.
func (m *Machine) Type(ctx context.Context, script string) (shown string, code int) {
	m.T.Helper()
	c := exec.CommandContext(ctx, "nsenter", "--target="+m.pid, "--mount", "--uts", "--net", "--pid", "--root", "--",
		"env", "-i", "-C", m.Work, "HOME="+m.home, "PATH="+m.path, "USER=root", "LANG=C.UTF-8", "bash", "-eu", "-o", "pipefail", "-c", script)
	out, err := os.Create(m.Dir + ".typed") // not a pipe, which a daemon would keep open
	if err != nil {
		m.T.Fatalf("%v", err)
	}
	defer out.Close()
	c.Stdout, c.Stderr = out, out
	if err := c.Run(); err != nil && c.ProcessState == nil {
		m.T.Fatalf("%v", err)
	}
	b, err := os.ReadFile(out.Name())
	if err != nil {
		m.T.Fatalf("%v", err)
	}
	return string(b), c.ProcessState.ExitCode()
}
