// Command chaos breaks a cluster of the real binary on purpose and checks what
// came of it:
//
//	go run ./integration/chaos [--seed N] [--nodes 3|5] [--for 4m] [--faults cut,slow] [--list]
//	go run ./integration/chaos --upgrade-from COMMIT --rate 500
//
// It owns the faults (faults*.go) and what it asks at the end (check.go,
// replicas.go); the clients that work meanwhile are package crowd's, the
// nodes package integration/lab's. Nodes are named voters plus one worker,
// each with a disk of its own. What it does follows from the seed;
// when it happens does not, as the machine has a say in that. A clock that jumps is
// not among the faults, as nodes on one machine share its time of day: tests on
// fake clocks have that. A failure keeps
// the data folders and prints how to repeat it. scripts/test runs it for
// minutes, scripts/soak for hours. It needs root, and works in a mount
// namespace of its own.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mesita/mesita/integration/chaos/stage"
	"github.com/mesita/mesita/integration/lab"
)

// inside marks the process that is in a mount namespace of its own.
const inside = "MESITA_CHAOS_INSIDE"

type options struct {
	seed   uint64
	voters int
	length time.Duration
	faults []*fault
	bin    string
	from   string // a commit: upgrade from it and back, instead of faults
	rate   int    // jobs a second on top of the clients'
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(2)
	}
	if os.Getenv(inside) == "" {
		os.Exit(again(o.seed))
	}
	// Tasks have mount namespaces of their own, which follow this one: a disk that
	// is unmounted here is let go of there.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		fmt.Fprintln(os.Stderr, "chaos: make the mounts of this namespace shared:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if !broken(ctx, o) {
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.Uint64Var(&o.seed, "seed", rand.Uint64N(1_000_000), "what happens")
	f.IntVar(&o.voters, "nodes", 3, "voters: 3 or 5; one worker comes on top")
	f.DurationVar(&o.length, "for", 4*time.Minute, "how long to break things, not counting the check; 0: each fault once")
	f.StringVar(&o.bin, "bin", "", "the binary (default: built from this module)")
	f.StringVar(&o.from, "upgrade-from", "", "break nothing: upgrade from the program of this `COMMIT` (such as "+pins[0]+"), back, and again")
	f.IntVar(&o.rate, "rate", 0, "`JOBS` a second by the Go client, on top of what the clients do")
	names := f.String("faults", "", "only these, separated by commas (default: all that --list shows)")
	list := f.Bool("list", false, "show the faults and end")
	showPins := f.Bool("pins", false, "show the commits from which upgrades have to work and end")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if *showPins {
		fmt.Println(strings.Join(pins, " "))
		os.Exit(0)
	}
	if *list {
		for _, v := range allFaults {
			fmt.Printf("%-14s %s\n", v.name, v.does)
		}
		os.Exit(0)
	}
	if o.length < 0 {
		return o, fmt.Errorf("--for %v: 0 or longer", o.length)
	}
	if o.voters != 3 && o.voters != 5 {
		return o, fmt.Errorf("--nodes %d: 3 or 5", o.voters)
	}
	o.faults = allFaults
	if *names != "" {
		o.faults = nil
		for name := range strings.SplitSeq(*names, ",") {
			v := faultNamed(name)
			if v == nil {
				return o, fmt.Errorf("--faults: there is no %q: see --list", name)
			}
			o.faults = append(o.faults, v)
		}
	}
	return o, nil
}

// again runs this program in a mount namespace, with the seed made known, and
// returns its exit code.
func again(seed uint64) int {
	c := exec.Command("/proc/self/exe", append(os.Args[1:], fmt.Sprint("--seed=", seed))...)
	c.Env = append(os.Environ(), inside+"=1")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	signal.Ignore(syscall.SIGINT) // the child has it too, and tidies up
	err := c.Run()
	if c.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	}
	return c.ProcessState.ExitCode()
}

// broken runs one chaos from beginning to check, and reports whether all held.
func broken(ctx context.Context, o options) bool {
	s := stage.New()
	s.Do(func() {
		if o.bin == "" {
			o.bin = lab.Binary(s)
			s.Cleanup(lab.Tidy)
		}
		newRun(ctx, s, o).all()
	})
	if s.Failed() {
		fmt.Printf("FAIL  repeat with: go run ./integration/chaos --seed %d --nodes %d%s\n", o.seed, o.voters, o.what())
	}
	return !s.Failed()
}

func (o options) time() string {
	if o.length == 0 {
		return "one"
	}
	return o.length.String()
}

// what is the rest of the command line that repeats a run.
func (o options) what() string {
	out := fmt.Sprintf(" --for %v", o.length)
	if o.from != "" {
		out = " --upgrade-from " + o.from
	}
	if o.rate > 0 {
		out += fmt.Sprintf(" --rate %d", o.rate)
	}
	if !slices.Equal(o.faults, allFaults) {
		out += " --faults " + faultNames(o.faults)
	}
	return out
}
