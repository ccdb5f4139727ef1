package outside

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
)

// steps is of how many parts of the node's memory it is told how many others
// have.
const steps = 20

// memory is how much other programs have of the memory for tasks.
func (w *Watch) memory() (api.Bytes, error) {
	if w.cfg.TaskMemory == nil || w.cfg.Has.Mem <= 0 {
		return 0, nil
	}
	tasks, err := w.cfg.TaskMemory()
	if err != nil {
		return 0, fmt.Errorf("read the memory of tasks: %w", err)
	}
	total, available, err := meminfo(w.cfg.Proc)
	if err != nil {
		return 0, err
	}
	return beyond(w.cfg.Has.Mem, total, available, api.Bytes(tasks)), nil
}

// beyond is how much of the memory that a machine has for tasks others have: what
// is neither available nor a task's, less what is not for tasks.
func beyond(has, total, available, tasks api.Bytes) api.Bytes {
	others := max(total-available-tasks, 0)
	return min(max(others-max(total-has, 0), 0), has)
}

// settle is what to tell of an amount after was was told: whole steps of it, and
// nothing new while it goes to and fro by less than one.
func settle(was, is, step api.Bytes) api.Bytes {
	if step <= 0 || is < was+step && is >= was-step/2 {
		return was
	}
	return is / step * step
}

// meminfo reads what the machine has in all, and what it could give without
// swapping.
func meminfo(proc string) (total, available api.Bytes, err error) {
	b, err := os.ReadFile(filepath.Join(proc, "meminfo"))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, err := strconv.ParseInt(f[1], 10, 64)
		switch {
		case err != nil:
		case f[0] == "MemTotal:":
			total = api.Bytes(kib << 10)
		case f[0] == "MemAvailable:":
			available = api.Bytes(kib << 10)
		}
	}
	if total == 0 || available == 0 {
		return 0, 0, errors.New("/proc/meminfo has no MemTotal or no MemAvailable")
	}
	return total, available, nil
}
