package executor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
)

// sink is a cluster that takes reports.
type sink struct {
	mu    sync.Mutex
	all   []api.TaskStatus
	fail  int // so many reports fail
	calls int
}

func (s *sink) Report(_ context.Context, sts []api.TaskStatus) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail > 0 {
		s.fail--
		return errors.New("no leader")
	}
	s.all = append(s.all, sts...)
	return nil
}

// states lists what was reported of a task, as "attempt STATE reason".
func (s *sink) states(task string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, st := range s.all {
		if st.Task == task {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%d %s %s", st.Attempt, st.State, st.Reason)))
		}
	}
	return out
}

func (s *sink) last(task string) (last api.TaskStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.all {
		if st.Task == task {
			last = st
		}
	}
	return last
}

// node is one executor with its fake keeper and cluster.
type node struct {
	t    *testing.T
	dir  string
	boot string
	rt   *runtimetest.Fake
	sink *sink
	cfg  func(*executor.Config)

	*executor.Executor
	cancel context.CancelFunc
	done   chan error
}

// strict is a log that fails the test if an attempt hears of what cannot be.
type strict struct{ testing.TB }

func (strict) Enabled(context.Context, slog.Level) bool { return true }
func (s strict) WithAttrs([]slog.Attr) slog.Handler     { return s }
func (s strict) WithGroup(string) slog.Handler          { return s }
func (s strict) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "what cannot be") {
		r.Attrs(func(a slog.Attr) bool { s.Error(r.Message, a); return true })
	}
	return nil
}

func newNode(t *testing.T) *node {
	return &node{t: t, dir: t.TempDir(), boot: "boot-1", rt: runtimetest.New(), sink: &sink{}}
}

func (n *node) start() {
	n.t.Helper()
	cfg := executor.Config{
		Log:    slog.New(strict{n.t}),
		NodeID: "n1", Name: "oak", CPUs: 4000, DataDir: n.dir, BootID: n.boot, Now: n.rt.Now, Uptime: n.rt.Uptime,
		ProcRoot: n.t.TempDir(), // what the fake has for processes are none
		DiskFree: func(string) (int64, int64, error) { return 100 << 30, 200 << 30, nil },
	}
	if n.cfg != nil {
		n.cfg(&cfg)
	}
	e, err := executor.New(cfg, n.rt, n.sink)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.Executor, n.cancel, n.done = e, cancel, make(chan error, 1)
	go func() { n.done <- e.Run(ctx) }()
}

func (n *node) stop() {
	n.t.Helper()
	n.cancel()
	if err := <-n.done; err != nil {
		n.t.Fatal(err)
	}
}

// settle waits until nothing happens any more at this moment. The journal's
// disk is not on the bubble's clock, so a little fake time passes.
func settle() {
	for range 3 {
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
	}
}

// pass lets fake time pass, and what is due in it happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func bubble(t *testing.T, f func(t *testing.T, n *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.start()
		defer func() { n.stop() }()
		f(t, n)
	})
}

func assignment(job string, index, attempt int, change ...func(*api.Task, *api.JobSpec)) api.Assignment {
	s := &api.JobSpec{Name: job, Kind: api.KindService, TaskSpec: api.TaskSpec{Command: []string{"/bin/true"}}}
	s.Normalize()
	tk := &api.Task{ID: api.TaskID(job, index), Job: job, Index: index, Version: 1, Partition: "default", NodeID: "n1", Attempt: attempt,
		Resources: api.Resources{CPUs: s.CPUs, Mem: s.Mem}}
	for _, c := range change {
		c(tk, s)
	}
	return api.Assigned(tk, s)
}

func batch(_ *api.Task, s *api.JobSpec)         { s.Kind = api.KindBatch }
func stopped(tk *api.Task, _ *api.JobSpec)      { tk.Desired = api.DesiredStop }
func set(as ...api.Assignment) []api.Assignment { return as }

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// soonOver has one attempt end after a second, and the others run on.
func soonOver(id string) func(keeper.StartRequest) runtimetest.Plan {
	return func(r keeper.StartRequest) runtimetest.Plan {
		if r.ID == id {
			return runtimetest.Plan{Run: time.Second}
		}
		return runtimetest.Plan{}
	}
}
