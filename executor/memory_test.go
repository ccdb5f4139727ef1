package executor_test

import (
	"sync"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
)

// shelves are the memory of each group, as was said last.
type shelves struct {
	scales
	mu   sync.Mutex
	mem  map[string]int64
	most int64 // of all together; 0: no bound
}

func (s *shelves) Protect(group string, memory int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mem == nil {
		s.mem = map[string]int64{}
	}
	s.mem[group] = memory
	return nil
}

func (s *shelves) LimitMemory(memory int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = memory
	return nil
}

func mem(guaranteed, limit api.Bytes) func(*api.Task, *api.JobSpec) {
	return func(tk *api.Task, _ *api.JobSpec) {
		tk.Resources.Mem, tk.Resources.MemExtra = guaranteed, limit-guaranteed
	}
}

// What tasks are guaranteed is protected, theirs and that of the groups above,
// frozen or not. While one of them may use more, all together are bounded by what
// the node has for them; a daemon that starts again bounds nothing before it
// knows what runs. Who may use more is the first to die, from its first
// instruction on.
func TestWhatIsGuaranteedIsProtected(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		n.stop()
		kernel := &shelves{}
		n.cfg = func(c *executor.Config) { c.Kernel, c.Mem = kernel, 1000 }
		n.start()
		want := func(when string, most int64, groups map[string]int64) {
			t.Helper()
			settle()
			pass(100 * time.Millisecond)
			kernel.mu.Lock()
			defer kernel.mu.Unlock()
			for group, m := range groups {
				if kernel.mem[group] != m {
					t.Errorf("%s: %q is protected to %d, and not %d", when, group, kernel.mem[group], m)
				}
			}
			if kernel.most != most {
				t.Errorf("%s: all together are bounded to %d, and not %d", when, kernel.most, most)
			}
		}
		a0, a1, b0 := assignment("a", 0, 1, mem(100, 100)), assignment("a", 1, 1, mem(200, 700)), assignment("b", 0, 1, in("ml"), mem(50, 50))
		n.Assign(set(a0, b0))
		want("nobody may use more", 0, map[string]int64{"": 150, "default": 100, "default/job.a/0-a1": 100, "ml": 50})
		n.Assign(set(a0, a1, b0))
		want("one may use more", 1000, map[string]int64{"": 350, "default": 300, "default/job.a": 300, "default/job.a/1-a1": 200})
		n.Assign(set(a0, a1, assignment("b", 0, 1, in("ml"), mem(50, 50), frozen)))
		want("one is frozen", 1000, map[string]int64{"": 350, "ml": 50, "ml/job.b/0-a1": 50})
		for _, r := range n.rt.Started() {
			limit, score := int64(100), 0
			switch r.ID {
			case "a.1/1":
				limit, score = 700, 800
			case "b.0/1":
				limit = 50
			}
			if r.Limits.Memory != limit || r.OOMScore != score {
				t.Errorf("%s was started with a limit of %d and a score of %d, and not %d and %d", r.ID, r.Limits.Memory, r.OOMScore, limit, score)
			}
		}
		n.stop()
		kernel.mu.Lock()
		kernel.most = 5000 // as it was left
		kernel.mu.Unlock()
		n.start()
		n.Assign(set(a0, a1, b0))
		want("after a restart", 1000, map[string]int64{"": 350})
		n.Assign(set(a0, b0))
		want("nobody may use more any more", 0, map[string]int64{"": 150})
		n.Assign(nil)
		settle()
	})
}

// Whom the kernel killed for its memory is told why: for its own limit, or since
// the node had no more than it was guaranteed.
func TestWhyMemoryRanOut(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		used := map[string]int64{"b.0/1": 3 << 20, "c.0/1": 1 << 19}
		n.rt.Plan = func(r keeper.StartRequest) runtimetest.Plan {
			return runtimetest.Plan{Run: time.Second, OOM: true, OOMUsed: used[r.ID]}
		}
		lends := mem(1<<20, 5<<20)
		n.Assign(set(assignment("a", 0, 1, batch, mem(1<<20, 1<<20)), assignment("a", 1, 1, batch, lends), assignment("b", 0, 1, batch, lends), assignment("c", 0, 1, batch, lends)))
		pass(2 * time.Second)
		settle()
		for task, want := range map[string]string{
			"a.0": "it needed more than its memory limit of 1MiB and was killed by the kernel: give it more with --mem",
			"a.1": "it needed more than its memory limit of 5MiB and was killed by the kernel: give it more with --mem-limit",
			"b.0": "it used 3MiB of 1MiB guaranteed; the node had no room, and the kernel killed it: guarantee it what it needs with --mem",
			"c.0": "the node's memory ran out, and the kernel killed it although it used no more than the 1MiB that it was guaranteed: see what else uses memory there",
		} {
			if st := n.sink.last(task); st.Reason != api.ReasonOOM || st.Message != want {
				t.Errorf("%s: %s, %q, and not %q", task, st.Reason, st.Message, want)
			}
		}
	})
}
