package isolation

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// How late the kernel kills the two when the machine has no memory left: the
// parent of all tasks last. Neither is exempt, as a kernel that finds nobody to
// kill stops. Tasks begin with 0, whatever their parent has.
const (
	KeeperScore = -999
	DaemonScore = -900
)

// Spare has the kernel kill this process by a score, unless it has a lower one.
func (h *Host) Spare(score int) error {
	path := filepath.Join(h.cfg.ProcRoot, "self/oom_score_adj")
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("see who dies when memory runs out: %w", err)
	}
	now, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("see who dies when memory runs out: %w", err)
	}
	if now <= score {
		return nil
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(score)), 0); err != nil {
		return fmt.Errorf("be killed late when memory runs out, which takes CAP_SYS_RESOURCE: %w", err)
	}
	return nil
}

// reservePIDs keeps an eighth of the machine's processes and threads from all
// slices together: a program that does nothing but fork must leave its keeper some
// to end it with.
func (h *Host) reservePIDs() error {
	if !h.limiter.enforces("pids") {
		return nil
	}
	limit := int64(0)
	for _, file := range []string{"pid_max", "threads-max"} {
		b, err := os.ReadFile(filepath.Join(h.cfg.ProcRoot, "sys/kernel", file))
		if err != nil {
			return fmt.Errorf("see how many processes there can be: %w", err)
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
		if err != nil {
			return fmt.Errorf("see how many processes there can be: %w", err)
		}
		if limit == 0 || n < limit {
			limit = n
		}
	}
	for _, s := range h.limiter.settings("", Limits{PIDs: limit - limit/8}) {
		if s.file == "pids.max" {
			return s.ensure()
		}
	}
	return nil
}

// favour gives a group that the keeper is in ten times the processor time of a
// plain one beside it, if it wants any, and has the kernel take no memory from
// it that others have to spare. What the machine cannot do is left out.
func favour(dir string) error {
	var errs []error
	for file, value := range map[string]string{"cpu.weight": "1000", "memory.low": strconv.Itoa(64 << 20)} {
		if err := writeFile(dir, file, value); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
