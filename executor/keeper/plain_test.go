package keeper_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/logs"
	"github.com/mesita/mesita/isolation"
)

// shown is all that a process was handed on by its parent, as the kernel and its
// tools tell of it.
const shown = `umask; nice; ulimit -Sn; id; cat /proc/self/status /proc/self/oom_score_adj /proc/self/personality /proc/self/sched | ` +
	`grep -E '^(Umask|Groups|Sig(Blk|Ign|Cgt)|Cap|NoNewPrivs|Seccomp|THP_enabled|policy|prio |[-0-9a-f]+$)'; ionice -p $$; ulimit -Sc -Ss -Sf; ls /proc/$$/fd`

// What a keeper was started with, by a shell or unit whose settings are its own,
// is not handed on to tasks, nor to commands beside them.
func TestTasksBeginAsServicesDo(t *testing.T) {
	out := func(prefix ...string) string {
		r := newRig(t)
		r.cfg.Argv = append(prefix, r.cfg.Argv...)
		c := r.client()
		req := r.request("a.0/1", "/bin/sh", "-c", shown)
		req.Forbidden = ^isolation.UsualCapabilities
		if _, err := c.Start(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		c.exit("a.0/1")
		return r.output("a.0/1", logs.Options{})
	}
	want := out()
	if !strings.HasPrefix(want, "0022\n0\n1024\nuid=0") {
		t.Fatalf("%s", want)
	}
	for _, prefix := range [][]string{
		{"/bin/sh", "-c", `umask 077; trap '' HUP PIPE USR1 CHLD RTMIN; exec "$0" "$@"`},
		{"/usr/bin/nice", "-n", "5"},
		{"/usr/bin/setarch", "-R", "-X"},
		{"/usr/bin/chrt", "--batch", "0"},
		{"/usr/bin/ionice", "-c", "3"},
		{"/usr/bin/choom", "-n", "300", "--"},
		{"/usr/bin/setpriv", "--groups", "7,8"},
		{"/usr/bin/setpriv", "--inh-caps", "+net_raw,+sys_admin", "--ambient-caps", "+net_raw,+sys_admin"},
	} {
		if _, err := exec.LookPath(prefix[0]); err != nil {
			t.Logf("not tried, since it is not installed: %s", prefix[0])
			continue
		}
		if got := out(prefix...); got != want {
			t.Errorf("started by %q:\n%s\nand otherwise\n%s", prefix, got, want)
		}
	}
}

// A program that is not root's can open its own input and output once more, as
// those do that are told to write to /dev/stdout, and so can a command.
func TestWhoIsNotRootOpensItsFilesAgain(t *testing.T) {
	r := newRig(t)
	c := r.client()
	const again = "echo out >/dev/stdout; echo err >/dev/stderr; cat /dev/stdin; echo $?"
	req := r.request("a.0/1", "/bin/sh", "-c", again+"; exec sleep 1000")
	req.UID, req.GID = 65534, 65534
	if _, err := c.Start(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	r.until("all is written", func() bool { return strings.Contains(r.read("a.0/1"), "0\n") })
	if got := r.read("a.0/1"); !strings.Contains(got, "out\n") || !strings.Contains(got, "err\n") || strings.Contains(got, "denied") {
		t.Errorf("%q", got)
	}
	for name, tty := range map[string]bool{"plain": false, "terminal": true} {
		p := program("/bin/sh", "-c", again)
		p.UID, p.GID, p.TTY = 65534, 65534, tty
		var out, errs strings.Builder
		res, err := c.Exec(t.Context(), keeper.ExecRequest{ID: "a.0/1", Spec: isolation.Spec{Program: p}, Stdin: strings.NewReader("in\n\x04"), Stdout: &out, Stderr: &errs})
		if got := out.String() + errs.String(); err != nil || res.Code != 0 || !strings.Contains(got, "out") || !strings.Contains(got, "err") || !strings.Contains(got, "in") || strings.Contains(got, "denied") {
			t.Errorf("%s: %+v, %v: %q", name, res, err, got)
		}
	}
	if fi, err := os.Stat(os.DevNull); err != nil || fi.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("%v, %v", fi, err)
	}
}

// read is what an attempt has written so far.
func (r *rig) read(id string) string {
	var b strings.Builder
	l, err := logs.Open(r.logDir(id), logs.Options{})
	if err != nil {
		r.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		e, err := l.Next(ctx)
		if err != nil {
			return b.String()
		}
		b.Write(e.Data)
	}
}

// A process that stopped itself heeds the signal to end, as below other
// supervisors.
func TestAStoppedTaskHeedsItsStopSignal(t *testing.T) {
	r := newRig(t)
	c := r.client()
	for id, tt := range map[string]struct {
		script string
		code   int
		sig    syscall.Signal
	}{
		"a.0/1": {"echo up; kill -STOP $$; exec sleep 1000", 0, syscall.SIGTERM},
		"a.1/1": {"trap 'exit 5' TERM; echo up; kill -STOP $$; while :; do sleep 0.01; done", 5, 0},
	} {
		pid := c.start(id, "/bin/sh", "-c", tt.script).PID
		if byThread { // it is PID 1 of its namespace, which only those outside can stop
			r.until(id+" is up", func() bool { return strings.Contains(r.read(id), "up\n") })
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}
		r.until(id+" has stopped", func() bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err == nil && strings.Contains(string(b), ") T ")
		})
		if err := c.Signal(t.Context(), id, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if st := c.exit(id); st.Code != tt.code || st.Signal != tt.sig {
			t.Errorf("%s: %+v", id, st)
		}
	}
}
