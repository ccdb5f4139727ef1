// Package weights sees to it that a full node's CPU and memory are divided by
// what its tasks were guaranteed. The kernel divides them among the groups of one
// level, so the groups of jobs and partitions have to carry what the tasks in
// them add up to. It owns those sums and what the top slice has, and writes what
// differs. It writes, too, the most that groups may use: partitions whose limit
// bounds that, and tasks that asked for it. It knows nothing of tasks, and no
// group is made or removed here.
package weights

import (
	"cmp"
	"errors"
	"os"
	"path"
	"sync"
	"syscall"

	"github.com/mesita/mesita/isolation"
)

// Kernel sets the weight of a group by its name, "" being the top slice, the bytes
// that others leave to it, and the most that it may use, in thousandths of a CPU,
// 0 being no bound; an isolation.Host. One that is not there is os.ErrNotExist.
type Kernel interface {
	Weigh(group string, weight uint64) error
	Protect(group string, memory int64) error
	LimitMemory(memory int64) error // of the top slice; 0: none
	LimitCPU(group string, milli int64) error
	Limited() ([]string, error) // those with groups in them
}

// Share is what a task, or a group of them, is guaranteed.
type Share struct {
	CPUs     int64 // thousandths of one
	Mem      int64 // bytes
	MemExtra int64 // bytes that it may use beyond that, which nobody guarantees
}

func (s Share) add(o Share) Share {
	return Share{s.CPUs + o.CPUs, s.Mem + o.Mem, s.MemExtra + o.MemExtra}
}

func (s Share) minus(o Share) Share {
	return Share{s.CPUs - o.CPUs, s.Mem - o.Mem, s.MemExtra - o.MemExtra}
}

// Weights are those of one node's groups. It is safe for concurrent use.
type Weights struct {
	kernel Kernel
	node   Share // that the node has for tasks

	write sync.Mutex // one Write at a time, so that the newest sum stays
	mu    sync.Mutex
	tasks map[string]Share    // of each slice with a task
	sums  map[string]Share    // and of the groups above; "" is the top slice
	dirty map[string]struct{} // groups to write
	whole bool                // all that runs was Set
	asked bool                // who changed something was told that there is something to write

	bounds bounds
}

// New is for a node that has so much for tasks.
func New(node Share, kernel Kernel) *Weights {
	return &Weights{kernel: kernel, node: node, tasks: map[string]Share{}, sums: map[string]Share{}, dirty: map[string]struct{}{"": {}}, asked: true, bounds: newBounds()}
}

// Set says what the task in a slice is guaranteed from now on; nothing any more
// when it ended, and none of the CPU while it is frozen; and the most of the CPU
// that it may use, once it runs, if it asked for that. Write makes it so. It
// reports whether there is something to write that was not there before.
func (w *Weights) Set(slice string, s Share, limit int64) (due bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	none := Share{}
	by := s.minus(w.tasks[slice])
	if s == none && by == none {
		return false
	}
	put := func(m map[string]Share, group string, to Share) {
		if m[group] = to; to != none {
			w.dirty[group] = struct{}{}
			return
		}
		delete(m, group)
		delete(w.dirty, group)
	}
	w.bounds.set(slice, limit, s.CPUs == 0)
	put(w.tasks, slice, s)
	for group := path.Dir(slice); group != "."; group = path.Dir(group) {
		put(w.sums, group, w.sums[group].add(by))
		w.bounds.moved(group, w.sums[group].CPUs)
	}
	put(w.sums, "", w.sums[""].add(by))
	w.dirty[""] = struct{}{} // it stays
	return w.ask()
}

// ask is true for the first change since Write began last. w.mu is held.
func (w *Weights) ask() (due bool) {
	due = !w.asked
	w.asked = true
	return due
}

// Whole says that all that runs was Set, so that the memory of all can be bounded.
func (w *Weights) Whole() (due bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whole, w.dirty[""] = true, struct{}{}
	return w.ask()
}

// Write writes what changed since it was called last; the error is that of one
// group of those that were refused, which the next Write tries again. A group that
// is not there yet, or any more, is left out: its next task says Set again.
func (w *Weights) Write() error {
	w.write.Lock()
	defer w.write.Unlock()
	w.mu.Lock()
	due := make(map[string]Share, len(w.dirty))
	for group := range w.dirty {
		due[group] = w.tasks[group].add(w.sums[group])
	}
	whole := w.whole
	clear(w.dirty)
	w.asked = false
	w.mu.Unlock()
	var first error
	for group, s := range due {
		err := cmp.Or(ignoreGone(w.kernel.Weigh(group, w.weight(group, s))), ignoreGone(w.kernel.Protect(group, s.Mem)))
		if group == "" && whole {
			err = cmp.Or(err, w.kernel.LimitMemory(w.most(s)))
		}
		if err != nil {
			w.again(group)
		}
		first = cmp.Or(first, err)
	}
	return cmp.Or(first, w.writeBounds())
}

// again has the next Write try a group, if it is one still.
func (w *Weights) again(group string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, task := w.tasks[group]
	if _, sum := w.sums[group]; task || sum || group == "" {
		w.dirty[group] = struct{}{}
	}
}

// ignoreGone leaves out what is told of a group that is not there.
func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

// most is the memory that all tasks together may use: while some may use more
// than is set aside for them, what the node has for tasks, and the rest is the
// machine's own. A node that came back smaller has to hold what its tasks were
// guaranteed.
func (w *Weights) most(all Share) int64 {
	if all.MemExtra == 0 || w.node.Mem == 0 {
		return 0
	}
	return max(w.node.Mem, all.Mem)
}

// weight of a group. The top slice stands beside what else runs on the machine,
// which has 100 as a rule: it carries 100 for each CPU that is for tasks, so
// that their guarantees hold against that, however many tasks there are.
func (w *Weights) weight(group string, s Share) uint64 {
	if group == "" {
		return isolation.Weight(w.node.CPUs/10, isolation.MaxWeight)
	}
	return isolation.Weight(s.CPUs, w.node.CPUs)
}
