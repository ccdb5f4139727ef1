// Command benchtool measures the figures that mesita promises with the real
// binary, and prints medians, ranges and whether each is reached. It owns the
// measuring; the goals come with the figures. scripts/bench builds and runs it.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// figure is one row of the result.
type figure struct {
	name   string
	unit   string
	goal   float64
	more   bool // more is better
	values []float64
	note   string
}

func (f *figure) add(v float64) { f.values = append(f.values, v) }

func (f *figure) median() float64 {
	s := slices.Sorted(slices.Values(f.values))
	if len(s) == 0 {
		return 0
	}
	return s[len(s)/2]
}

func (f *figure) String() string {
	if len(f.values) == 0 {
		return fmt.Sprintf("%-58s  not measured  %s", f.name, f.note)
	}
	mark, ratio := "reached", f.goal/f.median()
	if f.more {
		ratio = f.median() / f.goal
	}
	if ratio < 1 {
		mark = "MISSED"
	}
	return fmt.Sprintf("%-58s %10.4g %-7s (%.4g–%.4g, n=%d)  goal %g  ×%.2f %s %s", f.name, f.median(), f.unit,
		slices.Min(f.values), slices.Max(f.values), len(f.values), f.goal, ratio, mark, f.note)
}

type benchmark struct {
	name string
	run  func(b *bench) error
}

// bench is what a benchmark works with.
type bench struct {
	mesita  string
	dir     string
	repeat  int
	figures []*figure
}

func (b *bench) figure(name, unit string, goal float64) *figure {
	f := &figure{name: name, unit: unit, goal: goal}
	b.figures = append(b.figures, f)
	return f
}

var benchmarks = []benchmark{
	{"binary", benchBinary}, {"start", benchStart}, {"warm", benchWarm}, {"array", benchArray}, {"shares", benchShares}, {"jobs", benchJobs},
	{"failover", benchFailover}, {"nodeloss", benchNodeLoss}, {"accept", benchAccept}, {"idle", benchIdle}, {"idle-4", benchIdle4}, {"idle-cluster", benchIdleCluster}, {"memory", benchMemory},
	{"held", benchHeld}, {"lists", benchLists}, {"hands", benchHands}, {"top", benchTop}, {"apply", benchApply}, {"framework", benchFramework}, {"framework-failover", benchFrameworkFailover}, {"framework-idle", benchFrameworkIdle},
}

// figures is what each change of how tasks run is measured by, in one run of
// five minutes: benchmarks, and how often each is repeated (0 = the usual number).
var figures = []struct {
	name   string
	repeat int
}{{"start", 0}, {"warm", 0}, {"held", 0}, {"array", 3}, {"memory", 0}, {"accept", 0}, {"idle", 0}, {"idle-4", 0}, {"shares", 1}}

func main() {
	b := &bench{}
	flag.StringVar(&b.mesita, "mesita", "bin/mesita", "the binary to measure")
	flag.IntVar(&b.repeat, "n", 0, "repetitions (default: by benchmark)")
	flag.Usage = func() {
		var names []string
		for _, x := range benchmarks {
			names = append(names, x.name)
		}
		fmt.Fprintf(flag.CommandLine.Output(), "usage: scripts/bench [-n N] [figures|%s]\n", strings.Join(names, "|"))
	}
	flag.Parse()
	dir, err := os.MkdirTemp("/var/tmp", "mesita-bench-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	b.dir = dir
	failed := b.measure(flag.Args())
	_ = os.RemoveAll(dir) // a left-over folder in /var/tmp harms nothing
	if failed {
		os.Exit(1)
	}
}

// measure runs the benchmarks of these names, or all, and reports whether one
// failed.
func (b *bench) measure(names []string) (failed bool) {
	repeat := b.repeat
	for _, x := range benchmarks {
		b.repeat = repeat
		wanted := len(names) == 0 && x.name != "idle-4" || slices.Contains(names, x.name) // idle-cluster has it, too
		for _, f := range figures {
			if f.name == x.name && !wanted && slices.Contains(names, "figures") {
				wanted, b.repeat = true, cmp.Or(repeat, f.repeat)
			}
		}
		if !wanted {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s %s…\n", time.Now().Format(time.TimeOnly), x.name)
		if err := x.run(b); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", x.name, err)
			failed = true
		}
		for _, f := range b.figures {
			fmt.Println(f)
		}
		b.figures = nil
	}
	return failed
}

// times is how often to repeat, unless the user said otherwise.
func (b *bench) times(n int) int {
	if b.repeat > 0 {
		return b.repeat
	}
	return n
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
