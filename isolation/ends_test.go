//go:build (amd64 || arm64) && !startbythread

package isolation

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// In its namespace a program comes after its init, and a shell that lists it
// with ls and wc sees itself and one of them or both.
const firstPID, shownPIDs = "2", 3

// private is a task's process, as most are: an init is above it.
func private(script string) Spec {
	c := sh(script)
	c.PrivatePIDs, c.PrivateMounts = true, true
	return c
}

// outside runs a script as any parent would.
func outside(t *testing.T, dir, script string) Exit {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script) //nolint:noctx // it ends
	cmd.Dir, cmd.Env = dir, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		t.Fatal("no wait status")
	}
	if ws.Signaled() {
		return Exit{Signal: ws.Signal(), Core: ws.CoreDump()}
	}
	return Exit{Code: ws.ExitStatus()}
}

// TestEndsAreAsOutside: a task ends, by its own hand, by a signal or by a
// fault, exactly as it would outside.
func TestEndsAreAsOutside(t *testing.T) {
	// What is ignored stays so outside: who runs the tests may have said so of a hangup.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	t.Cleanup(func() { signal.Stop(caught) })
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	scripts := []string{
		"trap 'trap - TERM; kill -TERM $$' TERM; kill -TERM $$; exit 3",                     // dies by what it caught
		"trap 'exit 5' TERM; kill -TERM $$; exit 3",                                         // ends by itself
		"trap '' TERM INT; kill -TERM $$; kill -INT $$; exit 6",                             // ignores
		"sh -c 'kill -KILL $PPID'; exit 3",                                                  // by a child
		"sh -c 'kill -ABRT $PPID'; exit 3",                                                  // with a fault's signal
		"sh -c 'kill -TERM $$'; exit $?",                                                    // a child's end is its code
		"kill -TERM 0; exit 3",                                                              // its whole group
		"(sleep 0.05; kill -USR1 $$) & wait; wait; exit 3",                                  // while it waits
		"exec yes >/dev/full",                                                               // by an error
		"yes | true; exit $?",                                                               // a broken pipe
		"ulimit -t 1; while :; do :; done",                                                  // by the kernel: SIGXCPU
		"ulimit -c unlimited 2>/dev/null; kill -SEGV $$",                                    // with a core dump
		"ulimit -f 1; exec dd if=/dev/zero of=big bs=4096 count=100 2>/dev/null",            // SIGXFSZ
		"nosuchprogram 2>/dev/null", "./nosuch 2>/dev/null", "exec /etc/passwd 2>/dev/null", // 127, 126
		"for i in 1 2 3; do sleep 3 & done; exit 4", // leaves children behind
	}
	for sig := 1; sig <= 64; sig++ {
		scripts = append(scripts, fmt.Sprintf("kill -%d $$; exit 7", sig))
		if stops(syscall.Signal(sig)) {
			scripts[len(scripts)-1] = fmt.Sprintf("(while kill -CONT $$; do sleep 0.02; done) 2>/dev/null & kill -%d $$; exit 7", sig)
		}
	}
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		for _, program := range []string{
			"os.abort()",
			"ctypes.string_at(0)",
			"Thread(target=lambda: (time.sleep(0.1), os._exit(9))).start(); libc.syscall(exit, 44)", // the first thread goes before the last
			"Thread(target=lambda: (time.sleep(0.1), libc.syscall(exit, 33))).start(); libc.syscall(exit, 44)",
			"Thread(target=os.execv, args=('/bin/sh', ['sh', '-c', 'exit 12'])).start(); time.sleep(60)", // by another than the first
			"Thread(target=ctypes.string_at, args=(0,)).start(); time.sleep(60)",
			"os.closerange(0, 1000); os._exit(3)",
			"fd = os.memfd_create('x'); os.write(fd, open('/bin/true', 'rb').read()); os.execve(fd, ['true'], {})",
			"signal.pthread_sigmask(signal.SIG_BLOCK, {15}); os.kill(os.getpid(), 15); os._exit(signal.sigwait({15}) + 100)",
			"signal.signal(17, signal.SIG_IGN); [os.fork() or os._exit(1) for _ in range(50)]; os.wait()", // none is left to wait for
			"signal.alarm(1); time.sleep(60)",
			"[os._exit(0) for _ in range(300) if os.fork() == 0]; os._exit(61)", // zombies
			"os._exit(-1)", "os._exit(263)",
		} {
			scripts = append(scripts, fmt.Sprintf(`exec python3 -c "import os, time, signal, ctypes; from threading import Thread
libc = ctypes.CDLL(None); exit = 60 if os.uname().machine == 'x86_64' else 93
%s"`, program))
		}
	}
	for _, script := range scripts {
		dir := t.TempDir()
		c := private(script)
		c.Dir = dir
		want := outside(t, dir, script)
		out, got := output(t, s, c)
		if got != want {
			t.Errorf("%q: outside %+v, here %+v: %s", script, want, got, out)
		}
	}
}

func stops(sig syscall.Signal) bool {
	return sig == syscall.SIGSTOP || sig == syscall.SIGTSTP || sig == syscall.SIGTTIN || sig == syscall.SIGTTOU
}

// TestEveryCode: from 0 to 255.
func TestEveryCode(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	for code := range 256 {
		if e := wait(t, start(t, s, private(fmt.Sprint("exit ", code)))); e != (Exit{Code: code}) {
			t.Errorf("%d: %+v", code, e)
		}
	}
}

// TestEverySignalFromOutside: a stop signal does to a task what it does to any
// process, also to one that is stopped or frozen.
func TestEverySignalFromOutside(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		p := ready(t, s, private("echo ready; exec sleep 1000"))
		if err := p.Signal(sig); err != nil {
			t.Fatal(err)
		}
		want := Exit{Signal: sig}
		switch sig {
		case syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGURG, syscall.SIGWINCH,
			syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU:
			want.Signal = syscall.SIGKILL
			if err := p.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		e := wait(t, p)
		if e.Core = false; e != want {
			t.Errorf("%d: %+v", sig, e)
		}
		if err := p.Signal(sig); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("a process that ended got signal %d: %v", sig, err)
		}
	}
	p := ready(t, s, private("trap 'exit 8' TERM; echo ready; while :; do sleep 0.01; done"))
	if err := s.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, p); e != (Exit{Code: 8}) {
		t.Errorf("a signal while frozen: %+v", e)
	}
	p = ready(t, s, private("echo ready; exec sleep 1000"))
	if err := s.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, p); e != (Exit{Signal: syscall.SIGKILL}) {
		t.Errorf("killed while frozen: %+v", e)
	}
}

// initOf is the init of a program's namespace, its parent.
func initOf(t *testing.T, p *Process) int {
	t.Helper()
	pid, err := strconv.Atoi(status(t, p.Pid, "PPid"))
	if err != nil || pid == os.Getpid() {
		t.Fatalf("there is no init: %d, %v", pid, err)
	}
	return pid
}

// TestTheInitIsKilled: then the kernel kills the program, and that is told.
func TestTheInitIsKilled(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	p := ready(t, s, private("echo ready; exec sleep 1000"))
	init := initOf(t, p)
	if err := syscall.Kill(init, syscall.SIGTERM); err != nil { // it is deaf to that
		t.Fatal(err)
	}
	if err := syscall.Kill(init, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, p); e != (Exit{Signal: syscall.SIGKILL}) {
		t.Errorf("%+v", e)
	}
	eventually(t, "nothing is left", func() bool { left, err := s.Populated(); return err == nil && !left })
}

// TestOrphansAreReaped: hundreds of them, each in the moment of its end.
func TestOrphansAreReaped(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	script := `i=0; while [ $i -lt 200 ]; do (true & ) ; i=$((i+1)); done
		n=1; while [ $n -gt 0 ]; do n=$(cat /proc/[0-9]*/status 2>/dev/null | grep -c "^State:.Z"); done; echo reaped`
	if out, e := output(t, s, private(script)); e != (Exit{}) || out != "reaped" {
		t.Errorf("%+v: %s", e, out)
	}
	// With a program that never waits, so that each child's end is the init's to collect.
	if out, e := output(t, s, private("sh -c '(exit 3) & (exit 4) & exec true'; exit 5")); e != (Exit{Code: 5}) {
		t.Errorf("%+v: %s", e, out)
	}
}

// TestTheInitHoldsNothing: none of our files and memory, and hardly any of its own.
func TestTheInitHoldsNothing(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	p := ready(t, s, private("echo ready; exec sleep 1000"))
	init := initOf(t, p)
	dir := fmt.Sprintf("/proc/%d/", init)
	eventually(t, "it has its name", func() bool {
		b, err := os.ReadFile(dir + "comm")
		return err == nil && strings.TrimSpace(string(b)) == "mesita-init"
	})
	eventually(t, "it sleeps", func() bool { return strings.HasPrefix(status(t, init, "State"), "S") })
	fds, err := os.ReadDir(dir + "fd")
	if err != nil || len(fds) != 1 {
		t.Errorf("it has %d files open, %v", len(fds), err)
	}
	own, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(own), "/libc.so") {
		return // as under the race detector: that memory has to stay
	}
	maps, err := os.ReadFile(dir + "maps")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(maps)) {
		if !strings.Contains(line, "[v") {
			n++
		}
	}
	if n != 2 { // its code and its data
		t.Errorf("its memory is\n%s", maps)
	}
}

// TestTheInitsTableOfFiles: is small, however many files we have open. Should
// the program's exec come before, it is as large as ours, which is rare.
func TestTheInitsTableOfFiles(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	for range 300 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	small := 0
	for range 10 {
		p := ready(t, s, private("echo ready; exec sleep 1000"))
		init := initOf(t, p)
		eventually(t, "it has one file", func() bool {
			fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", init))
			return err == nil && len(fds) == 1
		})
		if n, err := strconv.Atoi(status(t, init, "FDSize")); err != nil || n <= 64 {
			small++
		}
		if err := p.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		wait(t, p)
	}
	if small == 0 {
		t.Error("each init has a table of files as large as ours")
	}
	t.Logf("%d of 10 are small", small)
}

// TestAnEndIsWaitedForWithoutFiles: to have none left to wait with is not an end.
func TestAnEndIsWaitedForWithoutFiles(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	for _, c := range []Spec{sh("sleep 0.1; exit 3"), private("sleep 0.1; exit 3")} {
		p := start(t, s, c)
		var was unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: was.Max}); err != nil {
			t.Fatal(err)
		}
		e, err := p.Wait()
		if rerr := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); rerr != nil {
			t.Fatal(rerr)
		}
		if err != nil || e != (Exit{Code: 3}) {
			t.Errorf("%+v, %v", e, err)
		}
	}
}

// TestKeysAreNotHandedOn: those of whoever started us, a shell of root's perhaps,
// are in no program's reach.
func TestKeysAreNotHandedOn(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	runtime.LockOSThread() // it ends with the test, and its keys with it
	ring, err := unix.KeyctlJoinSessionKeyring("mesita-test")
	if err == nil {
		_, err = unix.AddKey("user", "mesita-test-secret", []byte("x"), ring)
	}
	if err != nil {
		t.Logf("there are no keys here: %v", err)
		return
	}
	for _, c := range []Spec{sh("cat /proc/keys"), private("cat /proc/keys")} {
		c.UID, c.GID = 65534, 65534
		if out, e := output(t, s, c); e != (Exit{}) || strings.Contains(out, "mesita-test-secret") {
			t.Errorf("%+v: %s", e, out)
		}
	}
}
