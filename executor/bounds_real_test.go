package executor_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/isolation"
)

// Two nodes share the limit of a partition by what each runs of it, though each of
// its tasks could take more; another partition on them is not held up.
func TestRealBounds(t *testing.T) {
	spin := command("sh", "-c", "while :; do :; done & while :; do :; done")
	var nodes [2]*real
	for i := range nodes {
		name := "oak-bounds-" + strconv.Itoa(i)
		r := newReal(named{t, name})
		h, err := isolation.Detect(isolation.Config{Slice: r.slice})
		if err != nil {
			t.Fatal(err)
		}
		if h.Attributes()["isolation.cpu"] != "yes" {
			t.Skip("this machine does not divide the CPU")
		}
		r.stop()
		r.kernel = h
		r.start()
		r.Bound([]api.CPUBound{{Partition: "ml", Limit: 100, Requested: 40}})
		tasks := set(assignment("a", 0, 1, in("ml"), spin, cores(10)), assignment("c", 0, 1, spin, cores(10)))
		if i == 1 {
			tasks = append(tasks, assignment("a", 1, 1, in("ml/x"), spin, cores(20)))
		}
		r.Assign(tasks)
		for _, a := range tasks {
			r.state(a.Task.ID, api.TaskRunning)
		}
		nodes[i] = r
	}
	used := func() (sum time.Duration) { return nodes[0].cpu("a.0") + nodes[1].cpu("a.0") + nodes[1].cpu("a.1") }
	nodes[1].until("the bounds are there", func() bool {
		for i, r := range nodes {
			if b, err := os.ReadFile(quotaFile(r.slice, "ml")); err != nil || !strings.HasPrefix(string(b), []string{"2500", "7500"}[i]) {
				return false
			}
		}
		return true
	})
	began, was := time.Now(), used()
	<-time.After(3 * time.Second)
	sum, span := used()-was, time.Since(began)
	if most := span*11/100 + 20*time.Millisecond; sum > most { // and what two periods may have left
		t.Errorf("within %s a tenth of a CPU was %s", span, sum)
	}
	for _, r := range nodes {
		for _, s := range r.Stats(t.Context(), api.StatsAll) {
			if s.Task == "c.0" && s.HeldUp() != "" {
				t.Errorf("one that is not bounded was held up: %s", s.HeldUp())
			}
		}
		r.until("it is said what holds the others up", func() bool {
			all := r.Stats(t.Context(), api.StatsAll)
			return !slices.ContainsFunc(all, func(s api.TaskStats) bool {
				return s.Task != "c.0" && !strings.Contains(s.HeldUp(), "with all of partition ml on this node, by its hard limit of 0.1 CPUs, 0.0")
			})
		})
		r.Bound(nil)
		r.until("the bound is lifted", func() bool {
			b, err := os.ReadFile(quotaFile(r.slice, "ml"))
			return err == nil && (strings.HasPrefix(string(b), "max") || strings.HasPrefix(string(b), "-1"))
		})
	}
}

// named is a test with another name.
type named struct {
	testing.TB
	name string
}

func (n named) Name() string { return n.name }

// quotaFile is where the kernel has the bound of a group.
func quotaFile(slice, group string) string {
	v2 := filepath.Join("/sys/fs/cgroup", slice, group, "cpu.max")
	if _, err := os.Stat(v2); err == nil {
		return v2
	}
	return filepath.Join("/sys/fs/cgroup/cpu", slice, group, "cpu.cfs_quota_us")
}

// watched is the machine's kernel, and what it took.
type watched struct {
	*isolation.Host
	scales
	err error
}

func (w *watched) LimitCPU(group string, milli int64) error { return w.Host.LimitCPU(group, milli) }
func (w *watched) Limited() ([]string, error)               { return w.Host.Limited() }
func (w *watched) Protect(group string, mem int64) error    { return w.Host.Protect(group, mem) }
func (w *watched) LimitMemory(mem int64) error              { return w.Host.LimitMemory(mem) }
func (w *watched) SetMemory(slice string, mem int64) (bool, error) {
	return w.Host.SetMemory(slice, mem)
}
func (w *watched) Throttling(group string) (isolation.Throttling, error) {
	return w.Host.Throttling(group)
}

func (w *watched) Weigh(group string, weight uint64) error {
	err := w.Host.Weigh(group, weight)
	if err == nil {
		_ = w.scales.Weigh(group, weight)
	} else if !os.IsNotExist(err) {
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
	}
	return err
}
