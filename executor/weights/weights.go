// Package weights sees to it that a full node's CPU is divided by what its tasks
// were guaranteed. The kernel divides it among the groups of one level by their
// weights, so the groups of jobs and partitions have to carry what the tasks in
// them add up to. It owns those sums and the top slice's weight, and writes what
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

// Kernel sets the weight of a group by its name, "" being the top slice, and the
// most that it may use, in thousandths of a CPU, 0 being no bound; an
// isolation.Host. One that is not there is os.ErrNotExist.
type Kernel interface {
	Weigh(group string, weight uint64) error
	LimitCPU(group string, milli int64) error
	Limited() ([]string, error) // those with groups in them
}

// Weights are those of one node's groups. It is safe for concurrent use.
type Weights struct {
	kernel Kernel
	node   int64 // thousandths of a CPU that the node has for tasks

	write sync.Mutex // one Write at a time, so that the newest sum stays
	mu    sync.Mutex
	tasks map[string]int64    // thousandths of a CPU of each slice with a task
	sums  map[string]int64    // and of the groups above; "" is the top slice
	dirty map[string]struct{} // groups to write

	bounds bounds
}

// New is for a node that has so many thousandths of a CPU for tasks.
func New(node int64, kernel Kernel) *Weights {
	return &Weights{kernel: kernel, node: node, tasks: map[string]int64{}, sums: map[string]int64{}, dirty: map[string]struct{}{"": {}}, bounds: newBounds()}
}

// Set says what the task in a slice is guaranteed from now on, in thousandths of
// a CPU; 0: nothing any more, as it ended or is frozen; and the most that it may
// use, once it runs, if it asked for that. Write makes it so. It tells whether
// there is something to write that was not there before.
func (w *Weights) Set(slice string, cpus, limit int64) (due bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := len(w.dirty) + len(w.bounds.due)
	by := cpus - w.tasks[slice]
	if cpus == 0 && by == 0 {
		return false
	}
	w.bounds.set(slice, limit, cpus == 0)
	if w.tasks[slice] = cpus; cpus > 0 {
		w.dirty[slice] = struct{}{}
	} else {
		delete(w.tasks, slice)
		delete(w.dirty, slice)
	}
	for group := path.Dir(slice); group != "."; group = path.Dir(group) {
		if w.sums[group] += by; w.sums[group] > 0 {
			w.dirty[group] = struct{}{}
		} else {
			delete(w.sums, group)
			delete(w.dirty, group)
		}
		w.bounds.moved(group, w.sums[group])
	}
	return was == 0 && len(w.dirty)+len(w.bounds.due) > 0
}

// Write writes what changed since it was called last; the error is that of one
// group of those that were refused. A group that is not there yet, or any more,
// is left out: its next task says Set again.
func (w *Weights) Write() error {
	w.write.Lock()
	defer w.write.Unlock()
	w.mu.Lock()
	due := make(map[string]uint64, len(w.dirty))
	for group := range w.dirty {
		due[group] = w.weight(group)
	}
	clear(w.dirty)
	w.mu.Unlock()
	var first error
	for group, weight := range due {
		first = cmp.Or(first, ignoreGone(w.kernel.Weigh(group, weight)))
	}
	return cmp.Or(first, w.writeBounds())
}

// ignoreGone leaves out what is told of a group that is not there.
func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

// weight of a group. The top slice stands beside what else runs on the machine,
// which has 100 as a rule: it carries 100 for each CPU that is for tasks, so
// that their guarantees hold against that, however many tasks there are.
func (w *Weights) weight(group string) uint64 {
	if group == "" {
		return isolation.Weight(w.node/10, isolation.MaxWeight)
	}
	return isolation.Weight(w.tasks[group]+w.sums[group], w.node)
}
