package isolation

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTheProcessIsBornInTheSlice(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "part/job/task", Limits{Memory: 64 << 20})
	out, e := output(t, s, sh("cat /proc/self/cgroup; cat /proc/self/status | grep NoNewPrivs; echo $#"))
	if e != (Exit{}) || !strings.Contains(out, "0::") {
		t.Fatalf("%+v: %s", e, out)
	}
	want := h.cfg.Slice + "/part/job/task"
	n := 0
	for line := range strings.Lines(out) {
		if strings.HasSuffix(strings.TrimSpace(line), want) {
			n++
		}
	}
	if n != len(tops(h)) {
		t.Errorf("the process is in %d groups of %d:\n%s", n, len(tops(h)), out)
	}
	if !strings.Contains(out, "NoNewPrivs:\t1") {
		t.Errorf("new privileges are possible:\n%s", out)
	}
	c := sh("grep NoNewPrivs /proc/self/status")
	c.AllowNewPrivileges = true
	if out, _ := output(t, s, c); !strings.HasSuffix(out, "0") {
		t.Errorf("allowed, and yet: %s", out)
	}
	// None of it sticks to this process, on any thread.
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		eventually(t, "the forking thread is gone", func() bool {
			b, err := os.ReadFile("/proc/self/task/" + task.Name() + "/cgroup")
			return err != nil || !strings.Contains(string(b), want)
		})
	}
}

func TestUserAndGroups(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	c := sh("id -u; id -g; id -G; pwd; echo $X; ls /proc/self/fd | wc -l")
	c.UID, c.GID, c.Groups, c.Dir, c.Env = 65534, 65533, []uint32{65533, 1234}, "/tmp", append(c.Env, "X=y")
	out, e := output(t, s, c)
	if want := "65534\n65533\n65533 1234\n/tmp\ny\n4"; e != (Exit{}) || out != want {
		t.Errorf("%+v: %q", e, out)
	}
}

func TestExit(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	if _, e := output(t, s, sh("exit 42")); e != (Exit{Code: 42}) {
		t.Errorf("%+v", e)
	}
	if _, e := output(t, s, sh("kill -TERM $$")); e != (Exit{Code: 0, Signal: syscall.SIGTERM}) {
		t.Errorf("%+v", e)
	}
	if _, err := s.Start(program("/nonexistent/program"), Files{}); !os.IsNotExist(unwrap(err)) {
		t.Errorf("a missing program: %v", err)
	}
	lost := program("/bin/true")
	lost.Dir = "/nonexistent"
	if _, err := s.Start(lost, Files{}); err == nil {
		t.Error("a missing folder was accepted")
	}
	if _, err := s.Start(Spec{}, Files{}); err == nil {
		t.Error("no program was accepted")
	}
	deaf := program("/bin/true")
	deaf.TTY = true
	if _, err := s.Start(deaf, Files{}); err == nil {
		t.Error("a terminal without one was accepted")
	}
	if left, err := s.Populated(); err != nil || left {
		t.Errorf("something is left: %v, %v", left, err)
	}
}

func unwrap(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = u.Unwrap()
	}
}

func TestPrivateNamespaces(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	c := sh("echo $$; mount -t tmpfs none /mnt && touch /mnt/seen && ls /mnt; ls -d /proc/[0-9]* | wc -l; readlink /proc/self/ns/mnt")
	c.PrivatePIDs, c.PrivateMounts = true, true
	out, e := output(t, s, c)
	lines := strings.Split(out, "\n")
	if e != (Exit{}) || len(lines) != 4 || lines[0] != firstPID || lines[1] != "seen" {
		t.Fatalf("%+v: %q", e, out)
	}
	if n, _ := strconv.Atoi(lines[2]); n != shownPIDs && n != shownPIDs+1 { // the shell, ls and wc
		t.Errorf("/proc shows %s processes", lines[2])
	}
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil || ours == lines[3] {
		t.Errorf("our mounts are those of the task: %s, %v", ours, err)
	}
	if _, err := os.Stat("/mnt/seen"); err == nil {
		t.Error("the machine sees the task's mount")
	}
	c = sh("echo $$; ls -d /proc/[0-9]* | wc -l")
	c.PrivatePIDs = true
	if out, e := output(t, s, c); e != (Exit{}) || !strings.HasPrefix(out, firstPID+"\n") {
		t.Errorf("%+v: %q", e, out)
	}
}

func TestPID1GetsTheSignal(t *testing.T) {
	h := newHost(t)
	for _, tt := range []struct {
		script string
		sig    syscall.Signal
		want   Exit
	}{
		{"echo ready; sleep 1000; exit 3", syscall.SIGTERM, Exit{Signal: syscall.SIGTERM}},
		{"echo ready; sleep 1000; exit 3", syscall.SIGUSR1, Exit{Signal: syscall.SIGUSR1}},
		{"trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done", syscall.SIGTERM, Exit{Code: 5}},
		{"trap '' TERM; echo ready; sleep 0.2; exit 6", syscall.SIGTERM, Exit{Code: 6}},
		{"echo ready; sleep 0.2; exit 8", syscall.SIGWINCH, Exit{Code: 8}},
		{"echo ready; sleep 1000", syscall.SIGKILL, Exit{Signal: syscall.SIGKILL}},
	} {
		t.Run(fmt.Sprintf("%s %d", strings.Fields(tt.script)[0], tt.sig), func(t *testing.T) {
			s := create(t, h, fmt.Sprintf("job/%d-%d", os.Getpid(), tt.want.Code+int(tt.want.Signal)<<8), Limits{})
			c := sh(tt.script)
			c.PrivatePIDs = true
			p := ready(t, s, c)
			if err := p.Signal(tt.sig); err != nil {
				t.Fatal(err)
			}
			if e := wait(t, p); e != tt.want {
				t.Errorf("%+v, not %+v", e, tt.want)
			}
			if err := p.Signal(tt.sig); err == nil {
				t.Error("a process that ended got a signal")
			}
			remove(t, s)
		})
	}
}

func TestJoin(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	c := sh("mount -t tmpfs none /mnt; touch /mnt/inside; echo ready; sleep 1000")
	c.PrivatePIDs, c.PrivateMounts = true, true
	p := ready(t, s, c)
	j := sh("ls /mnt; readlink /proc/self/ns/pid; kill -0 1 && echo sees; test $$ -lt 100 && echo small")
	out, e := outputOf(t, func(f Files) (*Process, error) { return s.StartBeside(p, j, f) })
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", p.Pid))
	if want := "inside\n" + ns + "\nsees\nsmall"; err != nil || e != (Exit{}) || out != want {
		t.Errorf("%+v: %q, not %q, %v", e, out, want, err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	wait(t, p)
	if _, err := s.StartBeside(p, j, Files{}); err == nil {
		t.Error("a process that ended was joined")
	}
}

func TestTerminal(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		skip(t, "no terminals here: "+err.Error())
	}
	defer ptmx.Close()
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	c := sh("echo it works >/dev/tty; tty")
	c.TTY = true
	out, e := outputOf(t, func(f Files) (*Process, error) { f.Stdin = tty; return s.Start(c, f) })
	b := make([]byte, 100)
	m, err := ptmx.Read(b)
	if e != (Exit{}) || err != nil || !strings.Contains(string(b[:m]), "it works") || out != tty.Name() {
		t.Errorf("%+v: %q and %q, %v", e, out, b[:m], err)
	}
}

// TestPID1WaitsForItsSignals: one that blocks its signals and takes them one by
// one, as small init programs do, has no handler and must get them all the same.
func TestPID1WaitsForItsSignals(t *testing.T) {
	const python = "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		skip(t, "python3 is not installed")
	}
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	script := "import signal as s\ns.pthread_sigmask(s.SIG_BLOCK, {s.SIGTERM})\nprint('ready', flush=True)\ns.sigwait({s.SIGTERM})\nraise SystemExit(4)"
	c := program(python, "python3", "-c", script)
	c.PrivatePIDs = true
	p := ready(t, s, c)
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, p); e != (Exit{Code: 4}) {
		t.Errorf("%+v", e)
	}
}
