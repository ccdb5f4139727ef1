package verdict

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/record"
)

// Running says of which partitions more tasks are on nodes, in one view, than may be, and
// whether there is one with as many as may.
func Running(tasks []*api.Task, most map[string]int) (full bool, wrong []string) {
	n := map[string]int{}
	for _, t := range tasks {
		if t.Holds() {
			n[t.Partition]++
		}
	}
	for path, most := range most {
		switch {
		case n[path] > most:
			wrong = append(wrong, fmt.Sprintf("%d tasks of %s are on nodes, of which %d may", n[path], path, most))
		case n[path] == most:
			full = true
		}
	}
	return full, wrong
}

// Held says what started while its job was held, or was never released. A job is in
// held with when its release was sent, in seconds since boot, 0 if it never was.
func Held(l record.Line, held map[string]float64) (wrong []string) {
	released, ok := held[jobOf(l.Task)]
	if l.What == "start" && ok && (released == 0 || l.At < released) {
		wrong = append(wrong, fmt.Sprintf("%s started at %.2f, and its job was on hold until %.2f", l.Task, l.At, released))
	}
	return wrong
}

// slack is what a time in the record may be off by, as it has hundredths, and that of
// the machine's start, from which it counts.
const slack = 100 * time.Millisecond

// Noticed says what was stopped before the time until which it was told that it may run.
// boot is when the machine started.
func Noticed(l record.Line, leaves map[record.Attempt]time.Time, boot time.Time) (wrong []string) {
	by, ok := leaves[record.Attempt{Task: l.Task, Number: l.Attempt}]
	at := boot.Add(time.Duration(l.At * float64(time.Second)))
	if l.What == "stopped" && ok && at.Before(by.Add(-slack)) {
		wrong = append(wrong, fmt.Sprintf("attempt %d of %s was stopped %v before its notice was over", l.Attempt, l.Task, by.Sub(at)))
	}
	return wrong
}

// Report says what is wrong with the sums of the report now that nothing runs: they are
// the same by whatever it sums up, and of each job there are as many attempts as wrote that
// they started, at least, and at most as many as its tasks have numbers, where those are
// known.
func Report(by map[string][]*api.ReportRow, tasks map[string]*api.Task, started map[record.Attempt]bool) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	sums := map[string]api.ReportRow{}
	for way, rows := range by {
		var sum api.ReportRow
		for _, r := range rows {
			if r.Running != 0 {
				say("by %s %d attempts of %q run, and all has ended", way, r.Running, r.Name)
			}
			sum.Attempts, sum.Starts, sum.Failed, sum.Preempted, sum.Moved = sum.Attempts+r.Attempts, sum.Starts+r.Starts, sum.Failed+r.Failed, sum.Preempted+r.Preempted, sum.Moved+r.Moved
			sum.CoreHours, sum.GiBHours, sum.WaitedHours = sum.CoreHours+r.CoreHours, sum.GiBHours+r.GiBHours, sum.WaitedHours+r.WaitedHours
		}
		sums[way] = sum
	}
	ways := slices.Sorted(maps.Keys(by))
	for i, way := range ways[1:] {
		a, b := sums[ways[i]], sums[way]
		rounding := 1e-6 * float64(len(by[ways[i]])+len(by[way])) // each row is to a millionth
		off := max(math.Abs(a.CoreHours-b.CoreHours), math.Abs(a.GiBHours-b.GiBHours), math.Abs(a.WaitedHours-b.WaitedHours))
		if a.Attempts != b.Attempts || a.Starts != b.Starts || a.Failed != b.Failed || a.Preempted != b.Preempted || a.Moved != b.Moved || off > rounding {
			say("the report sums up %+v by %s, and %+v by %s", a, ways[i], b, way)
		}
	}
	least, most, others := map[string]int64{}, map[string]int64{}, false
	for a := range started {
		least[jobOf(a.Task)]++
	}
	for _, t := range tasks {
		most[t.Job] += int64(t.Attempt)
	}
	counted := map[string]int64{}
	for _, r := range by[api.ReportJob] {
		counted[r.Name] += r.Attempts
		others = others || r.Others
	}
	for job, n := range least {
		if got := counted[job]; got < n && !others || got > most[job] && most[job] > 0 {
			say("the report has %d attempts of %s, of which %d wrote that they started, and its tasks have numbers up to %d in all", got, job, n, most[job])
		}
	}
	return wrong
}
