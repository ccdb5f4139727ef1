package isolation

// limiter sets the limits of slices, by whichever controllers there are. A
// name is that of a slice, below the top slice.
type limiter interface {
	enforces(controller string) bool
	create(name string, l Limits) error // a group for the slice, if that is not the v2 tree's own
	update(name string, l Limits) error
	settings(name string, l Limits) []setting                   // what update sets, as the kernel then shows it
	weight(group string, w uint64) (s setting, ok bool)         // of any group, the top slice is ""; not ok: there are no weights
	bound(group string, us int64) error                         // the CPU of any group, in microseconds of a period; 0: no more
	bounded(group string) (bool, error)                         // whether it is
	throttling(group string) (Throttling, error)                // of any group
	protection(group string, memory int64) (s setting, ok bool) // likewise
	memoryLimit(memory int64) (s setting, ok bool)              // of the top slice
	// stats fills in what is asked for; cpuStat is that file of the v2 tree.
	stats(name string, detail Detail, cpuStat map[string]uint64, s *Stats) error
	cpus() []int                                                               // those that can be given to slices; nil: none can
	share(pool []int, own map[string]bool, all func() ([]string, error)) error // keeps all slices but some to a pool; nil: to none
	cpusOf(name string) ([]int, error)                                         // a slice's own; nil: none
	entries(name string) []string                                              // the files to which a process writes 0 to be in the group, if it is not born there
	memoryOf(group string) (dir, current string)                               // where that of any group is counted; "": nowhere
	remove(name string) error                                                  // the group, and each parent left empty
}

// noLimiter is for a machine without controllers.
type noLimiter struct{}

func (noLimiter) enforces(string) bool                                  { return false }
func (noLimiter) create(string, Limits) error                           { return nil }
func (noLimiter) update(string, Limits) error                           { return nil }
func (noLimiter) stats(string, Detail, map[string]uint64, *Stats) error { return nil }
func (noLimiter) entries(string) []string                               { return nil }
func (noLimiter) remove(string) error                                   { return nil }

const (
	cpuPeriod = 100_000 // microseconds, the kernel's default
	minQuota  = 1_000   // microseconds, the kernel's minimum
)

// cpuQuota is the microseconds of CPU in a period.
func cpuQuota(l Limits) int64 {
	if l.MilliCPU <= 0 {
		return 0
	}
	return max(l.MilliCPU*cpuPeriod/1000, minQuota)
}
