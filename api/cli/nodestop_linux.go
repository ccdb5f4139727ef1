package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/line"
	"github.com/mesita/mesita/api/cli/nodefile"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/mesita/mesita/cluster"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

func (a *app) stopNode(c *cli.Context) error {
	if err := args(c, 0, 0, "node stop"); err != nil {
		return err
	}
	if c.IsSet("deadline") && !c.Bool("with-tasks") {
		return usage("mesita node stop: --deadline is when --with-tasks has the node empty: give both, or none")
	}
	d, err := a.daemonHere(c)
	if err != nil {
		return err
	}
	defer d.close()
	n := d.node(c.Context)
	if err := d.mayStop(c.Context, n, c.Bool("yes")); err != nil {
		return err
	}
	if c.Bool("with-tasks") && n == nil {
		return api.Errorf(api.CodeUnavailable, "this node answers nothing, so it cannot be drained: leave --with-tasks out")
	}
	if c.Bool("dry-run") {
		if c.Bool("with-tasks") {
			err = a.wouldDrain(c, d.cl, n, option.Span(c, "deadline"))
		}
		a.progress("would stop %s (pid %d)", d.called(n), d.pid)
		return err
	}
	if c.Bool("with-tasks") {
		if ok, err := a.mayEmpty(c, d.cl, n, option.Span(c, "deadline"), "stop it"); !ok {
			return err
		}
		if err := d.cl.Drain(c.Context, n.Name, option.Span(c, "deadline")); err != nil {
			return err
		}
		if err := a.awaitEmpty(c, d.cl, n); err != nil || c.Context.Err() != nil {
			return err
		}
		n.Tasks = 0
	}
	again := "`" + d.startedBy() + "` starts it again"
	if dev := devLine(d.pid); dev != "" {
		again = "it was started by `" + dev + "`"
	}
	if err := d.stop(c.Context, option.Span(c, "timeout")); err != nil {
		return err
	}
	a.progress("%s has stopped%s: %s", d.called(n), keptRunning(n), again)
	if c.Bool("with-tasks") {
		a.progress("it is drained: `mesita node resume %s` once it is back", n.Name)
	}
	return nil
}

// startedBy is what starts the node again: all that was said is in its file, but for the
// folder, and a socket that was said later.
func (d *localDaemon) startedBy() string {
	dir := api.DefaultDataDir
	if again, err := startAgain(d.pid); err == nil {
		dir = dataOf(d.pid, wordsOf(again.Args[1:]), environOf(d.pid))
	}
	out, socket := ofFolder("node start", dir), api.DefaultSocket
	file, err := nodefile.Read(settingsPath(dir), settingNames())
	if values, _ := file.Values("socket"); err == nil && len(values) > 0 {
		socket = values[0]
	}
	if d.socket != socket {
		out += " --socket " + shellWord(d.socket)
	}
	return out
}

// devLine is the command of a daemon that is for development, "" of another. Its folder may
// go with it, so nothing starts it again.
func devLine(pid int) string {
	line, err := lineOf(pid)
	if err != nil {
		return ""
	}
	for _, w := range wordsOf(line[1:]) {
		if w.flag != "" {
			continue
		}
		if w.text[0] != "dev" {
			return ""
		}
		out := "mesita"
		for _, arg := range line[1:] {
			out += " " + shellWord(arg)
		}
		return out
	}
	return ""
}

// lineOf is the command line of a daemon.
func lineOf(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil, fmt.Errorf("read how the daemon (pid %d) was started: %w", pid, err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"), nil
}

// ofFolder is a command about the node that has its data there.
func ofFolder(verb, dir string) string {
	if dir == "" || dir == api.DefaultDataDir {
		return "mesita " + verb
	}
	return "mesita " + verb + " --data " + shellWord(dir)
}

// atSocket is a command about the node that listens there.
func atSocket(verb, socket string) string {
	if socket == "" || socket == api.DefaultSocket {
		return "mesita " + verb
	}
	return "mesita --socket " + shellWord(socket) + " " + verb
}

func keptRunning(n *api.NodeStatus) string {
	if n == nil || n.Tasks == 0 {
		return ""
	}
	return ", its " + api.Count(n.Tasks, "task") + " may run on"
}

func (a *app) restartNode(c *cli.Context) error {
	if err := args(c, 0, 0, "node restart"); err != nil {
		return err
	}
	d, err := a.daemonHere(c)
	if err != nil {
		return err
	}
	defer d.close()
	again, err := startAgain(d.pid)
	if err != nil {
		return err
	}
	if err := a.wouldStart(c, again); err != nil {
		a.progress("! the node keeps running: as its settings are, it could not be started again")
		return err
	}
	n := d.node(c.Context)
	if err := d.stop(c.Context, option.Span(c, "timeout")); err != nil {
		return err
	}
	a.progress("%s has stopped, and starts again", d.called(n))
	again.Stdin, again.Stdout, again.Stderr = nil, a.out, a.err
	err = again.Run()
	if again.ProcessState != nil && again.ProcessState.ExitCode() > 0 {
		return exitError(again.ProcessState.ExitCode()) // it said why
	}
	return err
}

// localDaemon is the daemon behind the unix socket of this machine.
type localDaemon struct {
	pid    int
	fd     int // of the process, so that no other of that pid is ended
	socket string
	cl     *client.Client
}

func (a *app) daemonHere(c *cli.Context) (*localDaemon, error) {
	if c.IsSet("addr") {
		return nil, usage("mesita node %s: it is about the node of this machine: leave --addr out; `mesita node drain NAME` empties another", c.Command.Name)
	}
	d := &localDaemon{socket: or(c.String("socket"), api.DefaultSocket), fd: -1}
	var err error
	if d.pid, err = peerOf(c.Context, d.socket); err != nil {
		return nil, err
	}
	if unit := unitOf(d.pid); unit != "" {
		return nil, api.Errorf(api.CodeConflict, "systemd runs this node, as %s: systemctl %s %s", unit, c.Command.Name, strings.TrimSuffix(unit, ".service"))
	}
	if d.fd, err = unix.PidfdOpen(d.pid, 0); err != nil {
		return nil, fmt.Errorf("find the daemon (pid %d): %w", d.pid, err)
	}
	d.cl, err = client.New(client.Config{Socket: d.socket, Patience: -1})
	return d, err
}

func (d *localDaemon) close() { _ = unix.Close(d.fd) }

// peerOf is the process that listens at a unix socket.
func peerOf(ctx context.Context, path string) (int, error) {
	conn, err := client.DialSocket(ctx, path)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return 0, api.Errorf(api.CodeUnavailable, "no node runs here: nobody listens at %s; of one with another socket give --socket", path)
	}
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var who *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { who, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, fmt.Errorf("ask who listens at %s: %w", path, failed)
	}
	if who.Pid <= 0 {
		return 0, api.Errorf(api.CodeConflict, "the daemon behind %s is in another PID namespace: stop it there", path)
	}
	return int(who.Pid), nil
}

// unitOf is the systemd unit of a process that systemd itself started, "" if it did
// not: one that was started by hand within a unit's session is not of the unit.
func unitOf(pid int) string {
	if environOf(pid)["SYSTEMD_EXEC_PID"] != strconv.Itoa(pid) {
		return ""
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return ""
	}
	for l := range strings.Lines(string(b)) {
		for _, part := range strings.Split(strings.TrimSpace(l), "/") {
			if strings.HasSuffix(part, ".service") {
				return part
			}
		}
	}
	return "mesita.service"
}

func environOf(pid int) map[string]string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	out := map[string]string{}
	if err != nil {
		return out
	}
	for _, kv := range bytes.Split(b, []byte{0}) {
		if k, v, ok := strings.Cut(string(kv), "="); ok {
			out[k] = v
		}
	}
	return out
}

// node is what the cluster knows of this node, nil if it does not say.
func (d *localDaemon) node(ctx context.Context) *api.NodeStatus {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	h, _, err := d.cl.Standing(ctx)
	if err != nil {
		return nil
	}
	n, err := d.cl.Node(ctx, h.Node)
	if err != nil {
		return nil
	}
	return n
}

func (d *localDaemon) called(n *api.NodeStatus) string {
	if n == nil {
		return "the node"
	}
	return n.Name
}

// mayStop is an error if the cluster would be without a leader for it. Of a cluster of
// one voter that is what is asked for; of one that has none now nothing is lost.
func (d *localDaemon) mayStop(ctx context.Context, n *api.NodeStatus, yes bool) error {
	if yes || n == nil || !isVoter(n) {
		return nil
	}
	nodes, err := d.cl.Nodes(ctx, false)
	if err != nil {
		return nil
	}
	voters, left := 0, 0
	for _, o := range nodes {
		if isVoter(o) {
			voters++
			if o.ID != n.ID && isUp(o) {
				left++
			}
		}
	}
	if quorum := voters/2 + 1; voters == 1 || left >= quorum || left+1 < quorum {
		return nil
	}
	return api.Errorf(api.CodeConflict, "without %s only %d of %s would be up, and the cluster without a leader: nothing starts anywhere until it is back; --yes stops it", n.Name, left, api.Count(voters, "voter"))
}

// stop ends the daemon, and waits until it has ended.
func (d *localDaemon) stop(ctx context.Context, timeout time.Duration) error {
	err := unix.PidfdSendSignal(d.fd, unix.SIGTERM, nil, 0)
	if errors.Is(err, unix.EPERM) {
		return api.Errorf(api.CodeNotAllowed, "the daemon (pid %d) is not yours to stop: sudo %s", d.pid, atSocket("node stop", d.socket))
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop the daemon (pid %d): %w", d.pid, err)
	}
	for end := time.Now().Add(timeout); ; {
		poll := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 100)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for the end of the daemon (pid %d): %w", d.pid, err)
		case ctx.Err() != nil:
			return api.Errorf(api.CodeTimeout, "the daemon (pid %d) was told to end, and is not waited for", d.pid)
		case time.Now().After(end):
			return api.Errorf(api.CodeTimeout, "the daemon (pid %d) was told to end, and has not after %s: see mesita.log in its data folder", d.pid, timeout)
		}
	}
}

// startArgs are the arguments of `node start` for a daemon that was started with those:
// what was said of one start alone (a join, a rejoin, seeds) is left out.
func startArgs(args []string) []string {
	out := []string{"node", "start"}
	alone := map[string]bool{"": true, "foreground": true, "f": true, "token": true, "token-file": true, "seed": true, "rejoin": true}
	for _, w := range wordsOf(args) {
		if !alone[w.flag] {
			out = append(out, w.text...)
		}
	}
	return out
}

// startAgain is the command that starts a daemon as it was started, by this program.
func startAgain(pid int) (*exec.Cmd, error) {
	line, err := lineOf(pid)
	if err != nil {
		return nil, err
	}
	if len(line) < 3 || !strings.Contains(strings.Join(line[1:], " "), "node ") {
		return nil, api.Errorf(api.CodeConflict, "the daemon (pid %d) was started as %q, in somebody's foreground: stop it there", pid, strings.Join(line, " "))
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, startArgs(line[1:])...)
	cmd.Env = os.Environ()
	for k, v := range environOf(pid) {
		if strings.HasPrefix(k, "MESITA_") && k != joinTokenEnv && k != behindEnv {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	if dir, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd")); err == nil {
		cmd.Dir = dir
	}
	return cmd, nil
}

// wouldStart is what is wrong with the settings with which a daemon would be started.
func (a *app) wouldStart(c *cli.Context, start *exec.Cmd) error {
	l, err := line.Parse(c.App, start.Args[1:])
	if err != nil {
		return err
	}
	own, err := l.Context(c.Context, c.App)
	if err != nil {
		return err
	}
	dir := own.String("data")
	for _, kv := range start.Env {
		if value, ok := strings.CutPrefix(kv, "MESITA_DATA="); ok && !own.IsSet("data") {
			dir = value
		}
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(start.Dir, dir)
	}
	if err := own.Set("data", dir); err != nil {
		return err
	}
	conf, err := configure(own)
	if err != nil {
		return err
	}
	cfg, err := a.agentConfig(own)
	if err == nil {
		_, err = cluster.New(cfg)
	}
	return conf.located(err)
}
