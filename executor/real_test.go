package executor_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
	own "github.com/mesita/mesita/executor/cores"
	"github.com/mesita/mesita/executor/fetch"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/logs"
	"github.com/mesita/mesita/isolation"
)

// patience ends a test that is stuck; no machine is that slow.
const patience = 2 * time.Minute

const envDir, envSlice = "MESITA_TEST_KEEPER_DIR", "MESITA_TEST_KEEPER_SLICE"

// TestMain is the keeper process when the tests start themselves as one.
func TestMain(m *testing.M) {
	if os.Getenv(fetch.Variable) != "" {
		os.Exit(fetch.Main(context.Background(), os.Stdout, os.Stderr))
	}
	dir := os.Getenv(envDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	err := keeper.Main(context.Background(), keeper.Config{
		Dir: dir, Isolation: isolation.Config{Slice: os.Getenv(envSlice)},
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Orphaned: 5 * time.Second,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// real is a node with a keeper of processes.
type real struct {
	testing.TB
	dir    string
	slice  string
	sink   *sink
	kernel executor.Kernel
	cores  own.Kernel
	fetch  func(ctx context.Context, digest string, w io.Writer) error

	*executor.Executor
	rt     *keeper.Client
	cancel context.CancelFunc
	done   chan error
}

func newReal(t testing.TB) *real {
	if os.Getuid() != 0 {
		t.Skip("making cgroups needs root")
	}
	r := &real{TB: t, dir: t.TempDir(), sink: &sink{},
		slice: fmt.Sprintf("mesita-test-%d-%s", os.Getpid(), strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")))}
	if err := os.Chmod(filepath.Dir(r.dir), 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.end)
	r.start()
	return r
}

func (r *real) start() {
	r.Helper()
	kdir := filepath.Join(r.dir, "keeper")
	sh := fmt.Sprintf("exec env %s=$1 %s=%s %s", envDir, envSlice, r.slice, os.Args[0]) // --dir DIR is added
	r.rt = keeper.NewClient(keeper.ClientConfig{Dir: kdir, Argv: []string{"/bin/sh", "-c", sh}, Log: slog.New(slog.DiscardHandler)})
	e, err := executor.New(executor.Config{
		Log: slog.New(strict{r.TB}), NodeID: "n1", Name: "oak", DataDir: filepath.Join(r.dir, "executor"), CPUs: 4000, Kernel: r.kernel, Cores: r.cores, Fetch: r.fetch, Fetcher: []string{"mesita", "fetch"},
		Hidden:   []string{kdir, filepath.Join(r.dir, "executor")},
		DiskFree: func(string) (int64, int64, error) { return 100 << 30, 200 << 30, nil },
	}, r.rt, r.sink)
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.Executor, r.cancel, r.done = e, cancel, make(chan error, 1)
	go func() { r.done <- e.Run(ctx) }()
}

// stop is the end of the daemon, as its tasks see it.
func (r *real) stop() {
	r.Helper()
	r.leave()
	if err := r.rt.Close(); err != nil {
		r.Error(err)
	}
}

// leave ends the executor, and lets the connection to its keeper be.
func (r *real) leave() {
	r.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		r.Error(err)
	}
}

func (r *real) end() {
	r.Assign(nil)
	ctx := context.Background()
	r.until("all tasks end", func() bool {
		all, err := r.rt.Running(ctx)
		return err == nil && len(all) == 0
	})
	r.leave() // else it may find the keeper gone, and begin another
	if err := r.rt.Quit(ctx); err != nil {
		r.Error(err)
	}
	if err := r.rt.Close(); err != nil {
		r.Error(err)
	}
	r.until("the keeper ends", func() bool {
		_, err := os.Stat(filepath.Join(r.dir, "keeper", "pid"))
		return errors.Is(err, os.ErrNotExist)
	})
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/" + r.slice)
	more, _ := filepath.Glob("/sys/fs/cgroup/" + r.slice)
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
	if r.Failed() {
		b, _ := os.ReadFile(filepath.Join(r.dir, "keeper", "keeper.log"))
		r.Logf("keeper.log:\n%s", b)
	}
}

func (r *real) until(what string, ok func() bool) {
	r.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			r.Fatalf("not within %s: %s", patience, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (r *real) state(task string, want api.TaskState) api.TaskStatus {
	r.Helper()
	r.until(task+" is "+want.String(), func() bool {
		st := r.sink.last(task)
		if st.State.Final() && st.State != want {
			r.Fatalf("%s: %+v", task, st)
		}
		return st.State == want
	})
	return r.sink.last(task)
}

func command(args ...string) func(*api.Task, *api.JobSpec) {
	return func(_ *api.Task, s *api.JobSpec) { s.Command = args }
}

func (r *real) log(task string, opts executor.LogOptions) string {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l, err := r.Logs(ctx, task, 0, opts)
	if err != nil {
		r.Fatal(err)
	}
	defer l.Close()
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

func TestRealTask(t *testing.T) {
	r := newReal(t)
	r.Assign(set(assignment("b", 0, 1, batch, command("sh", "-c", "echo $MESITA_TASK_ID in $PWD; exit 3")),
		assignment("web", 0, 1, command("sleep", "1000")),
		assignment("u", 0, 1, batch, func(_ *api.Task, s *api.JobSpec) {
			s.User, s.Command = "nobody", []string{"sh", "-c", "id -un; touch x"}
		})))
	if st := r.state("b.0", api.TaskFailed); *st.ExitCode != 3 || st.Reason != api.ReasonExited {
		t.Fatalf("status %+v", st)
	}
	if got := r.log("b.0", executor.LogOptions{Follow: true}); !strings.HasPrefix(got, "b.0 in /") || !strings.HasSuffix(got, "tasks/b.0.1\n") {
		t.Fatalf("log %q", got)
	}
	r.state("u.0", api.TaskFinished)
	if got := r.log("u.0", executor.LogOptions{Follow: true}); got != "nobody\n" {
		t.Fatalf("log %q", got)
	}
	web := r.state("web.0", api.TaskRunning)
	if err := syscall.Kill(web.PID, 0); err != nil {
		t.Fatal(err)
	}
	stats := r.Stats(t.Context(), api.StatsAll)
	if len(stats) != 1 || stats[0].Task != "web.0" || stats[0].Processes < 1 || stats[0].Began <= 0 || stats[0].Began > stats[0].Sampled {
		t.Fatalf("stats %+v", stats)
	}
	var out bytes.Buffer
	code, err := r.Exec(t.Context(), executor.ExecRequest{Task: "web.0", Command: []string{"sh", "-c", "echo $MESITA_JOB; exit 4"}, Stdout: &out})
	if err != nil || code != 4 || out.String() != "web\n" {
		t.Fatalf("%d %v %q", code, err, out.String())
	}
	if _, err := r.Exec(t.Context(), executor.ExecRequest{Task: "b.0", Command: []string{"true"}}); api.ErrorCode(err) != api.CodeConflict {
		t.Fatalf("error %v", err)
	}
	followed := make(chan string)
	go func() { followed <- r.log("web.0", executor.LogOptions{Follow: true}) }()
	r.Assign(set(assignment("web", 0, 1, stopped)))
	r.state("web.0", api.TaskKilled)
	if got := <-followed; got != "" { // the end of a log with nothing in it
		t.Fatalf("log %q", got)
	}
}

func TestRealDaemonRestart(t *testing.T) {
	r := newReal(t)
	as := set(assignment("web", 0, 1, command("sh", "-c", "echo up; sleep 1000")), assignment("b", 0, 1, batch, command("sh", "-c", "while [ ! -e go ]; do sleep 0.01; done; echo gone; exit 6")))
	r.Assign(as)
	pid := r.state("web.0", api.TaskRunning).PID
	r.state("b.0", api.TaskRunning)
	r.stop()
	if err := os.WriteFile(filepath.Join(r.dir, "executor", "tasks", "b.0.1", "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.until("the log continues with no daemon", func() bool {
		l, err := logs.Open(filepath.Join(r.dir, "executor", "logs", "b.0", "1"), logs.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, err = l.Next(t.Context())
		return err == nil
	})
	r.start()
	r.Assign(as)
	if st := r.state("b.0", api.TaskFailed); *st.ExitCode != 6 {
		t.Fatalf("status %+v", st)
	}
	<-r.Synced()
	if st := r.sink.last("web.0"); st.PID != pid || st.State != api.TaskRunning {
		t.Fatalf("status %+v, want pid %d", st, pid)
	}
}

func (r *real) killKeeper() {
	r.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, "keeper", "pid"))
	if err != nil {
		r.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		r.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		r.Fatal(err)
	}
}

func TestRealKeeperKilled(t *testing.T) {
	r := newReal(t)
	as := set(assignment("web", 0, 1, command("sleep", "1000")))
	r.Assign(as)
	pid := r.state("web.0", api.TaskRunning).PID
	r.killKeeper()
	if st := r.state("web.0", api.TaskFailed); st.Reason != api.ReasonKeeperLost {
		t.Fatalf("status %+v", st)
	}
	r.until("the orphan dies", func() bool { return syscall.Kill(pid, 0) != nil })
	r.log("web.0", executor.LogOptions{Follow: true}) // ends
	r.Assign(set(assignment("web", 0, 2, command("sleep", "1000"))))
	r.until("the next attempt runs", func() bool { st := r.sink.last("web.0"); return st.Attempt == 2 && st.State == api.TaskRunning })
}

func TestRealProgram(t *testing.T) {
	program := []byte("#!/bin/sh\necho uploaded $1 ${0##*/} $(cat /proc/$$/comm)\n")
	sum := sha256.Sum256(program)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	asked := make(chan string, 10)
	r := newReal(t)
	r.stop()
	r.fetch = func(_ context.Context, d string, w io.Writer) error {
		asked <- d
		_, err := w.Write(program)
		return err
	}
	r.start()
	uploaded := func(_ *api.Task, s *api.JobSpec) {
		s.Program, s.Command, s.User = digest, []string{"./server", "{index}"}, "nobody"
	}
	r.Assign(set(assignment("b", 0, 1, batch, uploaded), assignment("b", 1, 1, batch, uploaded)))
	for i := range 2 {
		r.state(api.TaskID("b", i), api.TaskFinished)
		if got := r.log(api.TaskID("b", i), executor.LogOptions{Follow: true}); got != fmt.Sprintf("uploaded %d server server\n", i) {
			t.Fatalf("log %q", got)
		}
	}
	if len(asked) != 1 || !r.HasBlob(digest) {
		t.Fatalf("the program was fetched %d times, want once", len(asked))
	}
}

// BenchmarkThousand is a thousand tasks of /bin/true, from the assignment to
// the last report.
func BenchmarkThousand(b *testing.B) {
	r := newReal(b)
	r.Assign(set(assignment("warm", 0, 1, batch)))
	r.state("warm.0", api.TaskFinished)
	const n = 1000
	for round := 1; b.Loop(); round++ {
		var as []api.Assignment
		for i := range n {
			as = append(as, assignment(fmt.Sprintf("b%d", round), i, 1, batch))
		}
		r.sink.mu.Lock()
		r.sink.all = nil
		r.sink.mu.Unlock()
		r.Assign(as)
		r.until("all end", func() bool {
			r.sink.mu.Lock()
			defer r.sink.mu.Unlock()
			done := 0
			for _, st := range r.sink.all {
				if st.State.Final() {
					done++
				}
			}
			return done == n
		})
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/task")
}

// What is asked of a process comes to it, as another user, in a group of its
// own, and to a command beside it.
func TestRealProcessSpec(t *testing.T) {
	user, ids := "65534:7", "65534\n7\n7\n"
	if byThread { // not everybody may set the limits of another user's process
		user, ids = "0", "0\n0\n0\n"
	}
	r := newReal(t)
	const show = "ulimit -Sn; ulimit -Hn; nice; id -u; id -g; id -G"
	r.Assign(set(assignment("p", 0, 1, func(_ *api.Task, s *api.JobSpec) {
		s.User, s.Nice, s.Ulimits = user, 6, []api.Ulimit{{Name: "nofile", Soft: 70, Hard: 80}}
		s.Command = []string{"sh", "-c", show + "; while :; do sleep 0.01; done"}
	})))
	r.state("p.0", api.TaskRunning)
	want := "70\n80\n6\n" + ids
	r.until("the task says so", func() bool { return r.log("p.0", executor.LogOptions{}) == want })
	var out bytes.Buffer
	code, err := r.Exec(t.Context(), executor.ExecRequest{Task: "p.0", Command: []string{"sh", "-c", show}, Stdout: &out})
	if err != nil || code != 0 || out.String() != want {
		t.Errorf("beside it: %d, %v: %q", code, err, out.String())
	}
	r.Assign(set(assignment("q", 0, 1, batch, func(_ *api.Task, s *api.JobSpec) {
		s.Ulimits = []api.Ulimit{{Name: "nofile", Soft: 1 << 40, Hard: 1 << 40}}
	})))
	if st := r.state("q.0", api.TaskFailed); st.Reason != api.ReasonStartFailed || !strings.Contains(st.Message, "ulimit nofile=1099511627776:1099511627776 cannot be set") {
		t.Errorf("%+v", st)
	}
}
