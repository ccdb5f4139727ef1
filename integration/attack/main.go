// Command attack does to clusters of the real binary what those do who want in,
// or want others out:
//
//	go run ./integration/attack [--seed N] [--for 1h] [--only flood-hello,stolen] [--strict] [--list]
//
// It owns the attacks (case*.go, flood*.go) and what is watched meanwhile
// (watch.go): that a node answers and stays small, and nobody is elected; who may
// not is refused in any case. The nodes are package integration/lab's. What it does in which order
// follows from the seed. A failure keeps the data folders and prints how to
// repeat it. The test runs what is not a flood, scripts/soak all of it. It needs root.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mesita/mesita/integration/chaos/stage"
	"github.com/mesita/mesita/integration/lab"
)

type options struct {
	seed    uint64
	length  time.Duration // 0: each once
	flood   time.Duration // how long one lasts
	attacks []*attack
	bin     string
	strict  bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == flooder {
		flood(os.Args[2:])
		return
	}
	if len(os.Args) == 3 && os.Args[1] == onlooker {
		if err := looks(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "attack:", err)
			os.Exit(1)
		}
		return
	}
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if !held(ctx, o) {
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("attack", flag.ContinueOnError)
	f.Uint64Var(&o.seed, "seed", rand.Uint64N(1_000_000), "which attack comes when")
	f.DurationVar(&o.length, "for", 0, "how long to continue; 0: each attack once")
	f.DurationVar(&o.flood, "flood", 10*time.Second, "how long each flood lasts")
	f.StringVar(&o.bin, "bin", "", "the binary (default: built from this module)")
	f.BoolVar(&o.strict, "strict", false, fmt.Sprintf("nodes have to say how they are within %v 99 times of 100, have no more than %d MB, and elect nobody; without, these are figures, as a busy machine misses them", healthWithin, sizeWithin>>20))
	names := f.String("only", "", "only these, separated by commas (default: all that --list shows)")
	list := f.Bool("list", false, "show the attacks and end")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if *list {
		for _, a := range all {
			fmt.Printf("%-16s %s\n", a.name, a.does)
		}
		os.Exit(0)
	}
	if o.length < 0 || o.flood <= 0 {
		return o, fmt.Errorf("--for %v --flood %v: 0 or longer, and longer than 0", o.length, o.flood)
	}
	o.attacks = all
	if *names != "" {
		o.attacks = nil
		for name := range strings.SplitSeq(*names, ",") {
			i := slices.IndexFunc(all, func(a *attack) bool { return a.name == name })
			if i < 0 {
				return o, fmt.Errorf("--only: there is no %q: see --list", name)
			}
			o.attacks = append(o.attacks, all[i])
		}
	}
	return o, nil
}

// held reports whether all held.
func held(ctx context.Context, o options) bool {
	s := stage.New()
	s.Do(func() {
		if o.bin == "" {
			o.bin = lab.Binary(s)
			s.Cleanup(lab.Tidy)
		}
		newRun(ctx, s, o).all()
	})
	if s.Failed() {
		fmt.Printf("FAIL  repeat with: go run ./integration/attack --seed %d --for %v --flood %v --strict=%t --only %s\n", o.seed, o.length, o.flood, o.strict, namesOf(o.attacks))
	}
	return !s.Failed()
}

func namesOf(all []*attack) string {
	var names []string
	for _, a := range all {
		names = append(names, a.name)
	}
	return strings.Join(names, ",")
}
