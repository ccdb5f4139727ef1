package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/logs"
	"github.com/mesita/mesita/isolation"
	"golang.org/x/sys/unix"
)

const envDir, envSlice, envRoot = "MESITA_TEST_KEEPER_DIR", "MESITA_TEST_KEEPER_SLICE", "MESITA_TEST_KEEPER_ROOT"

// TestMain is the keeper process when the tests start themselves as one.
func TestMain(m *testing.M) {
	dir := os.Getenv(envDir)
	if dir == "" {
		code := m.Run()
		_ = os.RemoveAll(old.folder) // else the system's clean-up does
		os.Exit(code)
	}
	if err := becomePoor(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	err := keeper.Main(context.Background(), keeper.Config{
		Dir: dir, Isolation: isolation.Config{Slice: os.Getenv(envSlice), Root: os.Getenv(envRoot)},
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Orphaned: time.Second, Idle: time.Minute,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// rig is a keeper's folder with clients.
type rig struct {
	testing.TB
	dir   string
	slice string
	cfg   keeper.ClientConfig
}

func newRig(t testing.TB) *rig {
	if os.Getuid() != 0 {
		t.Skip("making cgroups needs root")
	}
	dir := filepath.Join(t.TempDir(), "keeper")
	slice := fmt.Sprintf("mesita-test-%d-%s", os.Getpid(), strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")))
	// The keeper inherits the environment of what starts it: give it its own.
	sh := fmt.Sprintf("exec env %s=$1 %s=%s %s", envDir, envSlice, slice, os.Args[0]) // --dir DIR is added
	r := &rig{t, dir, slice, keeper.ClientConfig{Dir: dir, Argv: []string{"/bin/sh", "-c", sh}, Log: slog.New(slog.DiscardHandler)}}
	t.Cleanup(func() { r.end(slice) })
	return r
}

// end kills what runs, ends the keeper and removes its slices.
func (r *rig) end(slice string) {
	c := keeper.NewClient(r.cfg)
	defer c.Close()
	ctx := context.Background()
	all, err := c.Running(ctx)
	if err != nil {
		r.Error(err)
	}
	for _, st := range all {
		_ = c.Kill(ctx, st.ID) // ended ones say so
	}
	if err := c.Quit(ctx); err != nil {
		r.Error(err)
	}
	r.until("the keepers end", func() bool {
		left, _ := filepath.Glob(r.dir + "*/pid")
		return len(left) == 0
	})
	removeTree(slice)
	outputs, _ := filepath.Glob(r.dir + "*/keeper.log")
	for _, f := range outputs {
		if b, _ := os.ReadFile(f); r.Failed() {
			r.Logf("%s:\n%s", f, b)
		}
	}
}

// removeTree removes the test's own empty groups in every hierarchy.
func removeTree(slice string) {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/" + slice)
	more, _ := filepath.Glob("/sys/fs/cgroup/" + slice)
	for _, root := range append(roots, more...) {
		var dirs []string
		_ = filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			_ = os.Remove(dirs[i])
		}
	}
}

func (r *rig) until(what string, ok func() bool) {
	r.Helper()
	for end := time.Now().Add(time.Minute); !ok(); { // an emulated machine is slow
		if time.Now().After(end) {
			r.Fatalf("not within a minute: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// client is a daemon's end, with the events it got.
type client struct {
	*keeper.Client
	r      *rig
	cancel context.CancelFunc
	mu     sync.Mutex
	events []keeper.Status
}

func (r *rig) client() *client {
	ctx, cancel := context.WithCancel(context.Background())
	c := &client{Client: keeper.NewClient(r.cfg), r: r, cancel: cancel}
	ch, err := c.Events(ctx)
	if err != nil {
		r.Fatal(err)
	}
	go func() {
		for st := range ch {
			c.mu.Lock()
			c.events = append(c.events, st)
			c.mu.Unlock()
		}
	}()
	r.Cleanup(c.leave)
	return c
}

func (c *client) leave() {
	c.cancel()
	c.Close()
}

func (c *client) event(id string) (keeper.Status, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range c.events {
		if st.ID == id {
			return st, true
		}
	}
	return keeper.Status{}, false
}

func (c *client) exit(id string) keeper.Status {
	c.r.Helper()
	var st keeper.Status
	c.r.until("the end of "+id, func() (ok bool) {
		st, ok = c.event(id)
		return ok
	})
	return st
}

func (r *rig) request(id string, args ...string) keeper.StartRequest {
	return keeper.StartRequest{
		ID: id, Slice: "default/job." + strings.NewReplacer(".", "/", "/", "-a").Replace(id),
		Spec: isolation.Spec{
			Program: program(args...),
			Confinement: isolation.Confinement{
				Limits:      isolation.Limits{MilliCPU: 1000, CPUWeight: 100, Memory: 256 << 20, PIDs: 64},
				PrivatePIDs: true, PrivateMounts: true,
			},
		},
		LogDir: r.logDir(id), LogMax: 1 << 20,
	}
}

func program(args ...string) isolation.Program {
	return isolation.Program{Path: args[0], Args: args, Env: []string{"PATH=/bin:/usr/bin"}, Dir: "/"}
}

func (r *rig) logDir(id string) string { return filepath.Join(filepath.Dir(r.dir), "logs", id) }

func (c *client) start(id string, args ...string) keeper.StartResult {
	c.r.Helper()
	res, err := c.Start(context.Background(), c.r.request(id, args...))
	if err != nil {
		c.r.Fatal(err)
	}
	return res
}

func (r *rig) output(id string, opts logs.Options) string {
	r.Helper()
	l, err := logs.Open(r.logDir(id), opts)
	if err != nil {
		r.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var b strings.Builder
	for {
		e, err := l.Next(ctx)
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			r.Fatal(err)
		}
		b.Write(e.Data)
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestStartLogExit(t *testing.T) {
	r := newRig(t)
	c := r.client()
	if all, err := c.Running(t.Context()); err != nil || len(all) != 0 {
		t.Fatalf("with no keeper: %v %v", all, err)
	}
	if _, err := os.Stat(r.dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("a keeper was started before it was needed")
	}
	c.start("a.0/1", "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
	c.start("a.1/1", "/bin/true")
	if st := c.exit("a.0/1"); st.Code != 3 || st.Signal != 0 || st.State != keeper.Ended || st.Started.IsZero() || st.Up <= 0 || st.Ended.Before(st.Started) {
		t.Fatalf("status %+v", st)
	}
	if st := c.exit("a.1/1"); st.Code != 0 {
		t.Fatalf("status %+v", st)
	}
	if got := r.output("a.0/1", logs.Options{Follow: true, Stdout: true}); got != "out\n" {
		t.Fatalf("stdout %q", got)
	}
	if got := r.output("a.0/1", logs.Options{Follow: true, Stderr: true}); got != "err\n" {
		t.Fatalf("stderr %q", got)
	}
	if _, err := c.Start(t.Context(), r.request("a.2/1", "/no/such/program")); !errors.Is(err, keeper.ErrProgram) {
		t.Fatalf("error %v", err)
	}
	// What is ours and missing is not the program's fault.
	gone := r.request("a.3/1", "/bin/true")
	gone.LogDir = filepath.Join(os.DevNull, "logs")
	if _, err := c.Start(t.Context(), gone); err == nil || errors.Is(err, keeper.ErrProgram) || errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error %v", err)
	}
}

func TestSignalAndKill(t *testing.T) {
	r := newRig(t)
	c := r.client()
	// As the first process of its namespace sleep does not get SIGTERM.
	c.start("a.0/1", "/bin/sleep", "1000")
	if err := c.Signal(t.Context(), "a.0/1", syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if st := c.exit("a.0/1"); st.Signal == 0 {
		t.Fatalf("status %+v", st)
	}
	c.start("a.1/1", "/bin/sh", "-c", `trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done`)
	r.until("the trap is set", func() bool { return r.output("a.1/1", logs.Options{}) == "up\n" })
	if err := c.Signal(t.Context(), "a.1/1", syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if st := c.exit("a.1/1"); st.Code != 5 {
		t.Fatalf("status %+v", st)
	}
	pid := c.start("a.2/1", "/bin/sh", "-c", "trap '' TERM; sleep 1000 & wait").PID
	if err := c.Kill(t.Context(), "a.2/1"); err != nil {
		t.Fatal(err)
	}
	if st := c.exit("a.2/1"); st.Signal != syscall.SIGKILL || alive(pid) {
		t.Fatalf("status %+v", st)
	}
	if err := c.Kill(t.Context(), "a.2/1"); !errors.Is(err, keeper.ErrNotRunning) {
		t.Fatalf("error %v", err)
	}
	if err := c.Kill(t.Context(), "b.0/1"); !errors.Is(err, keeper.ErrUnknown) {
		t.Fatalf("error %v", err)
	}
}

func TestLeftOverProcessesDie(t *testing.T) {
	r := newRig(t)
	c := r.client()
	req := r.request("a.0/1", "/bin/sh", "-c", "setsid sleep 1000 & echo $!")
	req.PrivatePIDs = false
	if _, err := c.Start(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	c.exit("a.0/1")
	pid, err := strconv.Atoi(strings.TrimSpace(r.output("a.0/1", logs.Options{Follow: true})))
	if err != nil {
		t.Fatal(err)
	}
	r.until("the child dies", func() bool { return !alive(pid) })
}

// TestDaemonGone: another client finds the same process, its log, and its exit.
func TestDaemonGone(t *testing.T) {
	r := newRig(t)
	c := r.client()
	pid := c.start("a.0/1", "/bin/sh", "-c", "echo 1; read x < "+r.fifo()+"; echo 2; exit 9").PID
	c.leave()
	d := r.client()
	all, err := d.Running(t.Context())
	if err != nil || len(all) != 1 || all[0].PID != pid || all[0].State != keeper.Running {
		t.Fatalf("running %+v %v", all, err)
	}
	// The same attempt is not started twice.
	if again := d.start("a.0/1", "/bin/false"); again.PID != pid {
		t.Fatalf("pid %d, want %d", again.PID, pid)
	}
	d.leave()
	r.poke()
	r.until("the log continues with no daemon", func() bool { return r.output("a.0/1", logs.Options{}) == "1\n2\n" })
	e := r.client()
	r.until("the exit is told later", func() bool {
		all, err = e.Running(t.Context())
		return err == nil && len(all) == 1 && all[0].State == keeper.Ended
	})
	if all[0].Code != 9 {
		t.Fatalf("status %+v", all[0])
	}
	if err := e.Forget(t.Context(), "a.0/1"); err != nil {
		t.Fatal(err)
	}
	if all, err = e.Running(t.Context()); err != nil || len(all) != 0 {
		t.Fatalf("running %+v %v", all, err)
	}
}

func (r *rig) fifo() string {
	p := filepath.Join(filepath.Dir(r.dir), "fifo")
	if err := syscall.Mkfifo(p, 0o600); err != nil && !errors.Is(err, os.ErrExist) {
		r.Fatal(err)
	}
	return p
}

// poke lets what reads the fifo continue.
func (r *rig) poke() {
	f, err := os.OpenFile(r.fifo(), os.O_WRONLY, 0)
	if err != nil {
		r.Fatal(err)
	}
	fmt.Fprintln(f, "x")
	f.Close()
}

func (r *rig) keeperPID() int {
	b, err := os.ReadFile(filepath.Join(r.dir, "pid"))
	if err != nil {
		r.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		r.Fatal(err)
	}
	return pid
}

func TestExec(t *testing.T) {
	r := newRig(t)
	c := r.client()
	c.start("a.0/1", "/bin/sleep", "1000")
	var out, errs bytes.Buffer
	req := keeper.ExecRequest{ID: "a.0/1", Spec: isolation.Spec{Program: program("/bin/sh", "-c", "cat; echo e >&2; exit 6")},
		Stdin: strings.NewReader("in\n"), Stdout: &out, Stderr: &errs}
	res, err := c.Exec(t.Context(), req)
	if err != nil || res.Code != 6 || out.String() != "in\n" || errs.String() != "e\n" {
		t.Fatalf("%+v %v %q %q", res, err, out.String(), errs.String())
	}
	out.Reset()
	req.Args = []string{"sh", "-c", "tty; stty size; exit 0"}
	req.TTY, req.Size, req.Stdin, req.Stderr = true, keeper.Size{Rows: 33, Cols: 99}, nil, nil
	res, err = c.Exec(t.Context(), req)
	if err != nil || res.Code != 0 || !strings.Contains(out.String(), "/dev/pts/") || !strings.Contains(out.String(), "33 99") {
		t.Fatalf("%+v %v %q", res, err, out.String())
	}
	req.Args = []string{"sh", "-c", "sleep 1000"}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("enough"))
	defer cancel()
	if _, err := c.Exec(ctx, req); err == nil || err.Error() != "enough" {
		t.Fatalf("error %v", err)
	}
	if _, err := c.Exec(t.Context(), keeper.ExecRequest{ID: "b.0/1", Spec: isolation.Spec{Program: program("/bin/true")}}); !errors.Is(err, keeper.ErrUnknown) {
		t.Fatalf("error %v", err)
	}
}

// TestExecIsConfinedAsItsTask: whoever asks, what runs beside a task has all that
// surrounds and bounds the task.
func TestExecIsConfinedAsItsTask(t *testing.T) {
	r := newRig(t)
	c := r.client()
	const show = "ulimit -Sn; ulimit -Hn; nice; grep NoNewPrivs /proc/self/status; readlink /proc/self/ns/pid /proc/self/ns/mnt /proc/self/ns/ipc; grep -E 'Cap|Seccomp' /proc/self/status"
	req := r.request("a.0/1", "/bin/sh", "-c", show+"; sleep 1000")
	req.PrivateIPC, req.FilterSyscalls, req.Forbidden = true, true, ^isolation.UsualCapabilities
	req.Rlimits, req.Nice = []isolation.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 50, Hard: 60}}, 11
	if _, err := c.Start(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	res, err := c.Exec(t.Context(), keeper.ExecRequest{ID: "a.0/1", Stdout: &out, Spec: isolation.Spec{
		Program:     program("/bin/sh", "-c", show),
		Confinement: isolation.Confinement{AllowNewPrivileges: true},
	}})
	if err != nil || res != (keeper.ExecResult{}) || !strings.HasPrefix(out.String(), "50\n60\n11\nNoNewPrivs:\t1\npid:") {
		t.Fatalf("%+v, %v: %q", res, err, out.String())
	}
	r.until("the task says the same", func() bool { return r.output("a.0/1", logs.Options{}) == out.String() })
}

func TestMuchOutputIsBounded(t *testing.T) {
	r := newRig(t)
	c := r.client()
	c.start("a.0/1", "/bin/sh", "-c", "i=0; while [ $i -lt 40 ]; do head -c 100000 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done; echo last")
	c.exit("a.0/1")
	got := r.output("a.0/1", logs.Options{Follow: true})
	if len(got) > 1<<20 || len(got) < 1<<19 || !strings.HasSuffix(got, "\nlast\n") {
		t.Fatalf("%d bytes are kept, ending %q", len(got), got[max(0, len(got)-20):])
	}
}
