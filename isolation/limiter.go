package isolation

// Limits of one slice. Zero means no limit.
type Limits struct {
	MilliCPU   int64  `json:"milliCPU,omitempty"`   // thousandths of a CPU that may be used, however idle the machine is, from before the start: asked for by older versions
	CPUWeight  uint64 `json:"cpuWeight,omitempty"`  // share of a busy CPU beside the other groups of the same level, 1 to MaxWeight; 100 is usual
	Memory     int64  `json:"memory,omitempty"`     // bytes; the whole slice is killed above, with cgroup v1 one process of it
	MemoryHigh int64  `json:"memoryHigh,omitempty"` // bytes; slowed down above; cgroup v2 only
	PIDs       int64  `json:"pids,omitempty"`       // processes and threads
}

// limiter sets the limits of slices, by whichever controllers there are. A
// name is that of a slice, below the top slice.
type limiter interface {
	enforces(controller string) bool
	create(name string, l Limits) error // a group for the slice, if that is not the v2 tree's own
	update(name string, l Limits) error
	settings(name string, l Limits) []setting           // what update sets, as the kernel then shows it
	weight(group string, w uint64) (s setting, ok bool) // of any group, the top slice is ""; not ok: there are no weights
	quota(name string, l Limits) setting                // that of MilliCPU, if there is a burst
	burst(name string, us int64) (s setting, ok bool)   // of a quota; not ok: there are no quotas
	stats(name string, s *Stats) error
	entries(name string) []string // the files to which a process writes 0 to be in the group, if it is not born there
	remove(name string) error     // the group, and each parent left empty
}

// noLimiter is for a machine without controllers.
type noLimiter struct{}

func (noLimiter) enforces(string) bool        { return false }
func (noLimiter) create(string, Limits) error { return nil }
func (noLimiter) update(string, Limits) error { return nil }
func (noLimiter) stats(string, *Stats) error  { return nil }
func (noLimiter) entries(string) []string     { return nil }
func (noLimiter) remove(string) error         { return nil }

const (
	cpuPeriod = 100_000 // microseconds, the kernel's default
	minQuota  = 1_000   // microseconds, the kernel's minimum
)

// quota is the microseconds of CPU in a period.
func (l Limits) quota() int64 {
	if l.MilliCPU <= 0 {
		return 0
	}
	return max(l.MilliCPU*cpuPeriod/1000, minQuota)
}
