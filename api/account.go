package api

import "math"

// Account is what attempts came to, in integers of which sums are made. CPU is
// in microseconds of one core, memory in milliseconds of one MiB.
type Account struct {
	Attempts  int64 `json:"attempts,omitempty"`  // that ended
	Failed    int64 `json:"failed,omitempty"`    // of those, for a reason of their own, their gang's or their node's
	Preempted int64 `json:"preempted,omitempty"` // had to make room for others
	Moved     int64 `json:"moved,omitempty"`     // had to leave their node, or were put back

	Starts int64 `json:"starts,omitempty"`
	Waited int64 `json:"waitedMs,omitempty"` // before those

	CPU int64 `json:"cpu,omitempty"` // held while they ran
	Mem int64 `json:"mem,omitempty"`

	// What of CPU was for nothing, by what befell the attempt.
	LostFailed    int64 `json:"lostFailed,omitempty"`
	LostPreempted int64 `json:"lostPreempted,omitempty"`
	LostMoved     int64 `json:"lostMoved,omitempty"`

	// What was used, and held, by the attempts of which their node measured it.
	UsedCPU int64 `json:"usedCPU,omitempty"`
	OfCPU   int64 `json:"ofCPU,omitempty"`
	UsedMem int64 `json:"usedMem,omitempty"` // as if each had had its peak all the time
	OfMem   int64 `json:"ofMem,omitempty"`
}

// Add adds b. What an int64 cannot hold stays at the most that it can.
func (a *Account) Add(b *Account) {
	to, by := a.fields(), b.fields()
	for i, n := range by {
		*to[i] = sum(*to[i], *n)
	}
}

func (a *Account) fields() [15]*int64 {
	return [...]*int64{&a.Attempts, &a.Failed, &a.Preempted, &a.Moved, &a.Starts, &a.Waited, &a.CPU, &a.Mem,
		&a.LostFailed, &a.LostPreempted, &a.LostMoved, &a.UsedCPU, &a.OfCPU, &a.UsedMem, &a.OfMem}
}

// sum is a+b, neither below zero.
func sum(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// TaskUse is what the processes of an attempt used from its start to its end.
type TaskUse struct {
	CPUTime int64 `json:"cpuUs"`             // microseconds
	MemPeak Bytes `json:"memPeak,omitempty"` // with the files that they read or wrote; 0: the kernel does not say
}

// The ways in which a report sums up.
const (
	ReportUser      = "user"
	ReportPartition = "partition"
	ReportJob       = "job"
	ReportNode      = "node"
)

// ReportWays are all of them.
var ReportWays = []string{ReportUser, ReportPartition, ReportJob, ReportNode}

// ReportRow is what the work of one user, partition, job or node came to, from
// the first to the last of some days in UTC. Hours are of one core and of one
// GiB, held from the start of an attempt to its end.
type ReportRow struct {
	By        string `json:"by"`
	Name      string `json:"name"`                // "" of the others
	Partition string `json:"partition,omitempty"` // of a job
	Others    bool   `json:"others,omitempty"`    // what no row of its own was kept for: see the bounds of the report
	From      string `json:"from"`                // the day, 2026-11-29
	To        string `json:"to"`

	CoreHours float64 `json:"coreHours"`
	GiBHours  float64 `json:"gibHours"`

	Running   int64 `json:"running"`  // attempts under way, which count up to now
	Attempts  int64 `json:"attempts"` // that ended
	Failed    int64 `json:"failed"`
	Preempted int64 `json:"preempted"`
	Moved     int64 `json:"moved"`

	Starts      int64   `json:"starts"`
	WaitedHours float64 `json:"waitedHours"` // of all starts together

	// Core hours of attempts of batch jobs that ended before their work was done.
	LostToFailures   float64 `json:"lostToFailures"`
	LostToPreemption float64 `json:"lostToPreemption"`
	LostToMoves      float64 `json:"lostToMoves"`

	// The part of what was held that was used, by the attempts that ended and
	// whose node measured it: 0.5 is half. Null: none was.
	CPUUsed *float64 `json:"cpuUsed"`
	MemUsed *float64 `json:"memUsed"` // as if each had had its peak all the time
}

const (
	cpuHour = 3600e6        // in the unit of Account.CPU
	gibHour = 3600e3 * 1024 // in that of Account.Mem
)

// Show fills a row in from an account.
func (r *ReportRow) Show(a *Account) {
	r.Attempts, r.Failed, r.Preempted, r.Moved, r.Starts = a.Attempts, a.Failed, a.Preempted, a.Moved, a.Starts
	r.CoreHours, r.GiBHours, r.WaitedHours = per(a.CPU, cpuHour), per(a.Mem, gibHour), per(a.Waited, 3600e3)
	r.LostToFailures, r.LostToPreemption, r.LostToMoves = per(a.LostFailed, cpuHour), per(a.LostPreempted, cpuHour), per(a.LostMoved, cpuHour)
	r.CPUUsed, r.MemUsed = used(a.UsedCPU, a.OfCPU), used(a.UsedMem, a.OfMem)
}

// per is n of that unit, to a millionth.
func per(n int64, unit float64) float64 { return math.Round(float64(n)/unit*1e6) / 1e6 }

func used(n, of int64) *float64 {
	if of == 0 {
		return nil
	}
	return new(math.Round(float64(n)/float64(of)*1e6) / 1e6)
}
