package executor_test

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
	"github.com/mesita/mesita/isolation"
)

// scales are what each group was last told to weigh.
type scales struct {
	mu  sync.Mutex
	all map[string]uint64

	most map[string]int64 // thousandths of a CPU

	memory map[string]int64 // bytes that a slice may have
	needs  int64            // bytes that each slice uses
}

func (s *scales) Weigh(group string, weight uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]uint64{}
	}
	s.all[group] = weight
	return nil
}

func (s *scales) LimitCPU(group string, milli int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.most == nil {
		s.most = map[string]int64{}
	}
	s.most[group] = milli
	return nil
}

func (s *scales) SetMemory(slice string, memory int64) (fits bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if memory < s.needs {
		return false, nil
	}
	if s.memory == nil {
		s.memory = map[string]int64{}
	}
	s.memory[slice] = memory
	return true, nil
}

func (*scales) Protect(string, int64) error { return nil }
func (*scales) LimitMemory(int64) error     { return nil }

func (*scales) Limited() ([]string, error) { return nil, nil }

func (*scales) Throttling(string) (t isolation.Throttling, err error) { return t, nil }

func (s *scales) want(t *testing.T, when string, want map[string]uint64) {
	t.Helper()
	pass(100 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	for group, w := range want {
		if s.all[group] != w {
			t.Errorf("%s: %q weighs %d, and not %d", when, group, s.all[group], w)
		}
	}
}

func cores(n api.MilliCPU) func(*api.Task, *api.JobSpec) {
	return func(tk *api.Task, _ *api.JobSpec) { tk.Resources.CPUs = n }
}

func in(partition string) func(*api.Task, *api.JobSpec) {
	return func(tk *api.Task, _ *api.JobSpec) { tk.Partition = partition }
}

// On a node of 4 CPUs, a whole of 10,000, the groups of jobs and partitions
// weigh what the tasks in them are guaranteed, as those start, end, freeze and
// thaw, and after a restart of the daemon.
func TestGroupsWeighWhatRuns(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.stop()
		kernel := &scales{}
		n.cfg = func(c *executor.Config) { c.Kernel = kernel }
		n.rt.Plan = func(r keeper.StartRequest) runtimetest.Plan {
			return runtimetest.Plan{Run: map[string]time.Duration{"a.1/1": time.Minute}[r.ID]}
		}
		n.start()
		run := set(assignment("a", 0, 1, cores(200)), assignment("a", 1, 1, batch, cores(400)), assignment("b", 0, 1, in("ml/x"), cores(1000)), assignment("c", 0, 1, in("ml"), cores(2)))
		n.Assign(run)
		settle()
		kernel.want(t, "started", map[string]uint64{"": 400, "default": 1500, "default/job.a": 1500, "default/job.a/0-a1": 500, "default/job.a/1-a1": 1000,
			"ml": 2505, "ml/x": 2500, "ml/x/job.b": 2500, "ml/job.c": 5, "ml/job.c/0-a1": 5})
		pass(time.Minute)
		settle()
		kernel.want(t, "one ended", map[string]uint64{"default": 500, "default/job.a": 500})

		n.Assign(set(run[0], run[2], assignment("c", 0, 1, in("ml"), cores(2), frozen)))
		settle()
		kernel.want(t, "one is frozen", map[string]uint64{"ml": 2500, "ml/x": 2500})

		n.stop() // and is started again, with another kernel's worth of groups
		kernel.mu.Lock()
		clear(kernel.all)
		kernel.mu.Unlock()
		n.start()
		n.Assign(set(run[0], run[2], run[3]))
		settle()
		kernel.want(t, "after a restart", map[string]uint64{"": 400, "default": 500, "default/job.a/0-a1": 500, "ml": 2505, "ml/x": 2500, "ml/job.c": 5})
		n.Assign(nil)
		settle()
	})
}

// What an earlier version started is weighed and bounded where it is, and what
// bounds ml/x bounds no job x of ml that this version starts.
func TestAJobIsNoPartition(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.stop()
		kernel := &scales{}
		n.cfg = func(c *executor.Config) { c.Kernel = kernel }
		n.start()
		limited := func(_ *api.Task, s *api.JobSpec) { s.CPULimit = 700 }
		run := set(assignment("x", 0, 1, in("ml"), cores(200), limited), assignment("x", 1, 1, in("ml"), cores(200), limited), assignment("x", 2, 1, in("ml"), cores(200), limited), assignment("y", 0, 1, in("ml/x"), cores(100)))
		bound := []api.CPUBound{{Partition: "ml/x", Limit: 500, Requested: 100}}
		n.Bound(bound)
		n.Assign(run)
		settle()
		kernel.want(t, "of this version", map[string]uint64{"ml": 1750, "ml/job.x": 1500, "ml/x": 250, "ml/x/job.y": 250})
		for _, task := range n.Stats(t.Context(), api.StatsAll) {
			if (len(task.Bounds) > 0) != (task.Task == "y.0") {
				t.Errorf("%s is bounded by %+v", task.Task, task.Bounds)
			}
		}
		n.rt.In("x.0/1", "ml/x/0-a1") // a former version
		n.rt.In("x.1/1", "")          // one before that
		n.stop()
		clear(kernel.all)
		clear(kernel.most)
		n.start()
		n.Bound(bound)
		n.Assign(run)
		settle()
		kernel.want(t, "of earlier versions", map[string]uint64{"ml/x/0-a1": 500, "ml/x/1-a1": 500, "ml/x": 1250, "ml/job.x": 500, "ml/job.x/2-a1": 500, "ml": 1750})
		if got := kernel.most; got["ml/x/0-a1"] != 700 || got["ml/x/1-a1"] != 700 || got["ml/job.x/2-a1"] != 700 {
			t.Errorf("their own limits are %v", got)
		}
		n.Assign(nil)
		settle()
	})
}

// A partition whose limit bounds what is used may use its part of it, by what runs
// here; a task's own limit is set once it runs. What is not known yet stays.
func TestGroupsAreBoundedByWhatRuns(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.stop()
		kernel := &scales{most: map[string]int64{}}
		n.cfg = func(c *executor.Config) { c.Kernel = kernel }
		n.start()
		limited := func(_ *api.Task, s *api.JobSpec) { s.CPULimit = 700 }
		want := func(when string, want map[string]int64) {
			t.Helper()
			pass(100 * time.Millisecond)
			kernel.mu.Lock()
			defer kernel.mu.Unlock()
			if !maps.Equal(kernel.most, want) {
				t.Errorf("%s: %v, want %v", when, kernel.most, want)
			}
			clear(kernel.most)
		}
		run := set(assignment("a", 0, 1, in("ml"), cores(200)), assignment("b", 0, 1, in("ml/x"), cores(100), limited), assignment("c", 0, 1, cores(100)))
		n.Assign(run)
		settle()
		want("nothing is told", map[string]int64{"ml/x/job.b/0-a1": 700})
		n.Bound([]api.CPUBound{{Partition: "ml", Limit: 1000, Requested: 600}})
		want("half of it runs here", map[string]int64{"ml": 500})
		n.Assign(run[1:])
		settle()
		want("a part of that ended", map[string]int64{"ml": 166})
		n.stop()
		n.start()
		n.Assign(run[1:])
		settle()
		want("after a restart", map[string]int64{"ml/x/job.b/0-a1": 700})
		n.Bound([]api.CPUBound{{Partition: "ml", Limit: 1000, Requested: 200}, {Partition: "ml/x", Limit: 300, Requested: 100}})
		want("told again", map[string]int64{"ml": 500, "ml/x": 300})
		n.Bound(nil)
		want("lifted", map[string]int64{"ml": 0, "ml/x": 0, "ml/x/job.b/0-a1": 700})

		limit := func(milli api.CPULimit, change ...func(*api.Task, *api.JobSpec)) {
			n.Assign(set(assignment("b", 0, 1, append(change, in("ml/x"), cores(100), func(_ *api.Task, s *api.JobSpec) { s.CPULimit = milli })...), run[2]))
			settle()
		}
		limit(300)
		want("its limit was lowered as it ran", map[string]int64{"ml/x/job.b/0-a1": 300})
		limit(300, frozen)
		limit(0, frozen)
		limit(0)
		want("it has none any more, which changed as it was frozen", map[string]int64{"ml/x/job.b/0-a1": 0})
		limit(400)
		n.stop()
		clear(kernel.most)
		n.start()
		limit(0)
		want("it has none any more, which changed as the daemon was away", map[string]int64{"ml/x/job.b/0-a1": 0})
		n.stop()
		clear(kernel.most)
		n.start()
		limit(0)
		want("the daemon may have been killed before it wrote that", map[string]int64{"ml/x/job.b/0-a1": 0})
		n.Assign(nil)
		settle()
	})
}

// Where weights cannot be set tasks run all the same, and it is told once, not for
// each of them.
func TestAWeightThatCannotBeSetIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.stop()
		var told bytes.Buffer
		n.cfg = func(c *executor.Config) { c.Kernel, c.Log = new(readOnly), slog.New(slog.NewTextHandler(&told, nil)) }
		n.start()
		for i := range 5 {
			n.Assign(set(assignment("a", i, 1)))
			pass(time.Second)
			settle()
			if st := n.sink.last(api.TaskID("a", i)); st.State != api.TaskRunning {
				t.Errorf("task %d: %+v", i, st)
			}
		}
		n.Assign(nil)
		settle()
		if got := strings.Count(told.String(), "are not divided"); got != 1 {
			t.Errorf("told %d times:\n%s", got, &told)
		}
	})
}

// A kernel that refuses for a moment, as when the daemon has no more files, is
// asked again though nothing else changes.
func TestAWeightThatWasRefusedIsSetLater(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.stop()
		kernel := &busy{}
		n.cfg = func(c *executor.Config) { c.Kernel, c.Log = kernel, slog.New(slog.DiscardHandler) }
		kernel.refuse.Store(true)
		n.start()
		n.Assign(set(assignment("a", 0, 1, cores(200))))
		pass(10 * time.Second)
		settle()
		kernel.want(t, "it refuses", map[string]uint64{"default/job.a": 0})
		kernel.refuse.Store(false)
		pass(30 * time.Second)
		settle()
		kernel.want(t, "it takes it", map[string]uint64{"": 400, "default/job.a": 500})
		n.Assign(nil)
		settle()
	})
}

// busy refuses what it is asked as long as it is told to.
type busy struct {
	scales
	refuse atomic.Bool
}

func (b *busy) Weigh(group string, weight uint64) error {
	if b.refuse.Load() {
		return syscall.EMFILE
	}
	return b.scales.Weigh(group, weight)
}

type readOnly struct{ scales }

func (*readOnly) Protect(string, int64) error { return syscall.EROFS }
func (*readOnly) Weigh(string, uint64) error  { return syscall.EROFS }

// Thousands of short tasks are weighed together, not each.
func TestWeightsAreGathered(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.stop()
		kernel := &counted{}
		n.cfg = func(c *executor.Config) { c.Kernel = kernel }
		n.rt.Plan = func(keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Run: time.Millisecond} }
		n.start()
		var all []api.Assignment
		for i := range 500 {
			all = append(all, assignment("a", i, 1, batch))
		}
		n.Assign(all)
		pass(time.Second)
		settle()
		kernel.mu.Lock()
		defer kernel.mu.Unlock()
		if n := kernel.all["default/job.a"]; n > 30 {
			t.Errorf("the job was weighed %d times", n)
		}
	})
}

type counted struct {
	scales
	all map[string]int
}

func (c *counted) Weigh(group string, _ uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[string]int{}
	}
	c.all[group]++
	return os.ErrNotExist
}

// Real groups of real tasks weigh what was asked for, on whatever cgroups the
// machine has, and no quota holds their tasks up.
func TestRealWeights(t *testing.T) {
	r := newReal(t)
	kernel := &watched{}
	host, err := isolation.Detect(isolation.Config{Slice: r.slice})
	if err != nil {
		t.Fatal(err)
	}
	if host.Attributes()["isolation.cpu"] != "yes" {
		t.Skip("this machine does not divide the CPU")
	}
	kernel.Host = host
	r.stop()
	r.kernel = kernel
	r.start()
	r.Assign(set(assignment("a", 0, 1, command("sleep", "1000"), cores(200)), assignment("a", 1, 1, command("sleep", "1000"), cores(100)), assignment("b", 0, 1, in("ml"), command("sh", "-c", "while :; do :; done"), cores(1))))
	for _, task := range []string{"a.0", "a.1", "b.0"} {
		r.state(task, api.TaskRunning)
	}
	want := map[string]uint64{"default": 750, "default/job.a": 750, "default/job.a/0-a1": 500, "default/job.a/1-a1": 250, "ml": 3, "ml/job.b": 3}
	r.until("the groups weigh it", func() bool {
		kernel.mu.Lock()
		defer kernel.mu.Unlock()
		for group, w := range want {
			if kernel.all[group] != w {
				return false
			}
		}
		return true
	})
	if kernel.err != nil {
		t.Error(kernel.err)
	}
	// A thousandth of a CPU is what it gets of a full node; this one is idle.
	r.until("a task of next to no CPU uses what nobody else does", func() bool { return r.cpu("b.0") > 300*time.Millisecond })
	for _, s := range r.Stats(t.Context(), api.StatsAll) {
		if s.Throttled != 0 {
			t.Errorf("%s was held up for %s", s.Task, s.Throttled)
		}
	}
}

// A limit of CPU bounds the program and not its start: below a thousandth of one
// a shell would take seconds to begin.
func TestRealCPULimit(t *testing.T) {
	r := newReal(t)
	host, err := isolation.Detect(isolation.Config{Slice: r.slice})
	if err != nil {
		t.Fatal(err)
	}
	if host.Attributes()["isolation.cpu"] != "yes" {
		t.Skip("this machine does not divide the CPU")
	}
	r.stop()
	r.kernel = host
	r.start()
	limited := func(_ *api.Task, s *api.JobSpec) { s.CPULimit = 20 }
	r.Assign(set(assignment("a", 0, 1, command("sh", "-c", "while :; do :; done"), cores(20), limited)))
	r.state("a.0", api.TaskRunning)
	r.until("its limit holds it up, and is named", func() bool {
		all := r.Stats(t.Context(), api.StatsAll)
		return len(all) == 1 && all[0].Throttled > 500*time.Millisecond && all[0].CPULimit == 20
	})
	if used, held := r.cpu("a.0"), r.Stats(t.Context(), api.StatsAll)[0].Throttled; used > held/4 {
		t.Errorf("below 2 %% of a CPU it used %s, and was held up for %s", used, held)
	}
	// It moves while the program runs.
	pid := r.sink.last("a.0").PID
	r.Assign(set(assignment("a", 0, 1, command("sh", "-c", "while :; do :; done"), cores(20))))
	r.until("it is held up no more", func() bool {
		was := r.Stats(t.Context(), api.StatsAll)[0]
		<-time.After(300 * time.Millisecond)
		now := r.Stats(t.Context(), api.StatsAll)[0]
		return now.Throttled == was.Throttled && now.CPUTime > was.CPUTime && now.CPULimit == 0
	})
	if st := r.sink.last("a.0"); st.PID != pid || st.State != api.TaskRunning {
		t.Errorf("it was started again: %+v", st)
	}
}
