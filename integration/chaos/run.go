package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/crowd"
	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/chaos/stage"
	"github.com/mesita/mesita/integration/lab"
)

const (
	wellWithin = 2 * time.Minute  // from the end of a fault to all being well
	endWithin  = 3 * time.Minute  // for all batches to end
	slowAfter  = 15 * time.Second // what is waited for is said
	tidyWithin = lab.Patience     // a keeper without daemon and tasks ends after half a minute
)

// run is one cluster that is broken, and what is known of it.
type run struct {
	o          options
	ctx        context.Context
	stage      *stage.Stage
	lab        *lab.Lab
	nodes      []*lab.Node // of the cluster; the last is the worker at first
	images     string      // folder of the disks
	disks      map[*lab.Node]*lab.Disk
	hurt       map[*lab.Node]int // how many faults it has now
	spans      int               // of the record
	mute       string            // the program whose keepers do not answer for a daemon that is away; "" if all do
	leveled    bool              // the level was raised, so that keepers are asked
	recovering sync.WaitGroup    // who waits for nodes to be well again
	record     *record.Record
	rng        *rand.Rand     // of the faults
	came       map[string]int // how often each fault did
	crowd      *crowd.Crowd
	asked      int         // batches of the faults' own
	agreed     uint64      // the index that all voters had applied at the end
	voters     []*lab.Node // at the end
}

func newRun(ctx context.Context, s *stage.Stage, o options) *run {
	r := &run{o: o, ctx: ctx, stage: s, disks: map[*lab.Node]*lab.Disk{}, hurt: map[*lab.Node]int{}, came: map[string]int{}, rng: rand.New(rand.NewPCG(o.seed, 1))}
	r.lab = lab.New(s, o.bin, o.voters+1)
	r.nodes = slices.Clone(r.lab.Nodes)
	r.images = s.TempDir()
	r.must(sh("mount", "-t", "tmpfs", "-o", "size=2g", "chaos", r.images))
	s.Cleanup(r.tidy)
	for _, n := range r.nodes {
		d, err := lab.NewDisk(n, r.images)
		r.must(err)
		r.disks[n] = d
	}
	rec, err := record.New(r.lab.Dir)
	r.must(err)
	r.record = rec
	r.crowd = crowd.New(crowd.Options{Stage: s, Record: rec, Seed: o.seed, Nodes: r.nodes, Rate: o.rate, Rules: o.from == ""})
	return r
}

// tidy lets go of the disks; those of a failed run are copied first.
func (r *run) tidy() {
	for n, d := range r.disks {
		_ = d.Answer() // nothing ends that waits for it
		n.PowerOff()
		if r.stage.Failed() {
			_ = sh("cp", "-a", n.Dir, n.Dir+".kept") // a dead disk cannot be read
		}
		_ = sh("umount", "-l", n.Dir) // it may not be mounted
	}
	_ = sh("umount", "-l", r.images)
}

func (r *run) must(err error) {
	if err != nil {
		r.stage.Fatalf("%v", err)
	}
}

// all is the whole of it: form, break, calm, check.
func (r *run) all() {
	older := ""
	if r.o.from != "" {
		older = lab.BuildAt(r.stage, r.o.from, r.stage.TempDir())
		for _, n := range r.nodes {
			n.Bin = older
		}
		r.stage.Say("begin", "seed %d, %d voters and a worker, from %s and back, %d jobs/s", r.o.seed, r.o.voters, r.o.from, r.o.rate)
	} else {
		r.stage.Say("begin", "seed %d, %d voters and a worker, %s of %s", r.o.seed, r.o.voters, r.o.time(), faultNames(r.o.faults))
	}
	if older != "" {
		r.shorten()
	}
	r.lab.Form()
	r.crowd.Work(r.ctx)
	if older != "" {
		r.upgrade(older, r.o.bin)
	} else {
		r.breakThings()
	}
	r.stage.Say("calm", "what was to happen has happened")
	r.well()
	r.recovering.Wait()
	r.crowd.Halt()
	r.check()
	if !r.stage.Failed() {
		r.stage.Say("held", "%d kinds of faults, %v", len(r.came), r.crowd)
	}
}

// breakThings begins and ends faults until the time is over; without a time,
// until each kind has come once. Each does before any comes twice.
func (r *run) breakThings() {
	end := time.Now().Add(r.o.length)
	timed := r.o.length > 0
	for over := false; !over; over = !timed {
		left := slices.Clone(r.o.faults)
		r.rng.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		for len(left) > 0 {
			if r.ctx.Err() != nil || r.stage.Failed() || timed && time.Now().After(end) {
				return
			}
			left = left[r.breakOne(left):]
		}
	}
}

// breakOne is the first fault, perhaps with the second beside it; it returns how
// many there were.
func (r *run) breakOne(next []*fault) (count int) {
	count = 1
	if next[0].alone {
		r.well()
	}
	over := r.begin(next[0])
	if len(next) > 1 && !next[0].alone && !next[1].alone && r.rng.IntN(3) == 0 {
		first, second := over, r.begin(next[1])
		over, count = func() { first(); second() }, 2
	}
	over()
	if r.rng.IntN(3) == 0 {
		r.well()
	}
	lab.Pause(r.ctx, time.Duration(r.rng.Int64N(int64(3*time.Second))))
	return count
}

// begin starts a fault and returns what ends it; both wait as long as the
// fault's length says. When there is nobody to hit it waits until all is well.
func (r *run) begin(f *fault) (over func()) {
	told := &told{}
	end := f.begin(r, told)
	if end == nil && len(r.hurt) == 0 {
		r.well()
		end = f.begin(r, told)
	}
	if end == nil {
		r.stage.Say("nobody", "can be hit by %s now", f.name)
		return func() {}
	}
	r.came[f.name]++
	r.stage.Say("fault", "%s: %s", f.name, told.text)
	d := f.least + time.Duration(r.rng.Int64N(int64(f.most-f.least)+1))
	return func() {
		lab.Pause(r.ctx, d)
		end()
		r.stage.Say("over", "%s", f.name)
	}
}

// told is what a fault says of its victims.
type told struct{ text string }

func (t *told) say(format string, args ...any) { t.text = fmt.Sprintf(format, args...) }

// well waits until every node is there and ready, and one leads.
func (r *run) well() {
	for _, n := range r.nodes {
		if n.Ended() && !r.refilled(n) {
			r.stage.Say("start", "%s had ended by itself: %s", n.Name, lastLog(n))
			n.Launch("start")
		}
	}
	if why := r.until(wellWithin, r.unwell); why != "" {
		for _, n := range r.nodes {
			if !n.Ended() {
				_ = n.Cmd.Process.Signal(syscall.SIGQUIT) // it writes to its log where it is
				<-n.Done
			}
		}
		r.stage.Fatalf("%v after the last fault: %s", wellWithin, why)
	}
}

func (r *run) unwell() string {
	voters := 0
	for _, n := range r.nodes {
		if n.Ended() {
			r.refilled(n)
		}
		if !n.Ready() {
			return n.Name + " is not ready: " + lastLog(n)
		}
		var h api.Health
		if err := n.Call("GET", "/v1/health", nil, &h); err != nil {
			return fmt.Sprintf("%s: %v", n.Name, err)
		}
	}
	members := r.nodes[0].Members()
	for _, m := range members {
		if m.State != api.NodeReady {
			return fmt.Sprintf("%s is %s: %s", m.Name, m.State, m.Reason)
		}
		if strings.HasPrefix(m.Role, "voter") {
			voters++
		}
	}
	if want := lab.Voters(len(r.nodes)); len(members) != len(r.nodes) || voters != want {
		return fmt.Sprintf("%d nodes and %d voters, want %d and %d", len(members), voters, len(r.nodes), want)
	}
	return ""
}

func lastLog(n *lab.Node) string {
	b, err := os.ReadFile(n.Dir + ".log")
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

func faultNames(faults []*fault) string {
	var out []string
	for _, f := range faults {
		out = append(out, f.name)
	}
	return strings.Join(out, ",")
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func sh(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}
