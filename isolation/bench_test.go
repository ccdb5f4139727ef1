package isolation

import (
	"os"
	"syscall"
	"testing"
	"time"
)

func cpuTime(who int) time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(who, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStart is a whole life of a slice. own-µs is CPU of this process for
// each; the plain fork beside it is what cannot be saved.
func BenchmarkStart(b *testing.B) {
	h := newHost(b)
	run := func(name string, life func()) {
		b.Run(name, func(b *testing.B) {
			before, children := cpuTime(syscall.RUSAGE_SELF), cpuTime(syscall.RUSAGE_CHILDREN)
			for b.Loop() {
				life()
			}
			b.ReportMetric(float64((cpuTime(syscall.RUSAGE_SELF)-before).Microseconds())/float64(b.N), "own-µs/op")
			b.ReportMetric(float64((cpuTime(syscall.RUSAGE_CHILDREN)-children).Microseconds())/float64(b.N), "children-µs/op")
		})
	}
	run("fork", func() {
		p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			b.Fatal(err)
		}
	})
	create(b, h, "part/job/other", Limits{}) // the job has more than one task
	limits := Limits{MilliCPU: 1000, CPUWeight: 100, Memory: 64 << 20, PIDs: 64}
	private := program("/bin/true")
	private.PrivatePIDs, private.PrivateMounts = true, true
	pids := program("/bin/true")
	pids.PrivatePIDs = true
	free := confined(program("/bin/true"))
	free.FilterSyscalls = false
	own := confined(program("/bin/true"))
	own.Temporary, own.PrivateMemory = ownTmp(b), true
	for name, c := range map[string]Spec{"temporary": own, "unfiltered": free, "slice": program("/bin/true"), "pids": pids, "namespaces": private, "confined": confined(program("/bin/true"))} {
		run(name, func() {
			s := create(b, h, "part/job/task", limits)
			wait(b, start(b, s, c))
			remove(b, s)
		})
	}
	run("limits", func() { remove(b, create(b, h, "part/job/task", limits)) })
	s := create(b, h, "part/job/stats", limits)
	run("stats", func() { stats(b, s) })
}
