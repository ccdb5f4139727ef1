package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mesita/mesita/integration/lab"
)

// onlooker is the first word of this program's command line as the process that does
// nothing but sleep and write to the disk, and says when either took long: what a node
// cannot help either.
const onlooker = "onlook"

// What the machine is late by.
const (
	byTimer = "a timer"
	bySteal = "a CPU that its host took" // of a virtual machine: whoever runs on it stands still
	byDisk  = "a write to the disk"
)

const (
	onlookEvery = 10 * time.Millisecond
	diskEach    = 10 // looks, so that it writes ten times a second
	tellFrom    = 20 * time.Millisecond
	tick        = 10 * time.Millisecond // of the counters in /proc/stat
)

// lateness is something that took longer than it should, by how much, and in which
// time.
type lateness struct {
	by         string
	from, to   time.Time
	late       time.Duration
	unexcusing bool // it is told, and excuses no answer
}

// machine is what an onlooker has said.
type machine struct {
	mu  sync.Mutex
	all []lateness
	end func()
}

// onlook has an onlooker look until end is called. It writes below a folder on the
// disk that the nodes have.
func onlook(dir string) (*machine, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.Command(self, onlooker, filepath.Join(dir, onlooker))
	c.Stderr = os.Stderr
	tether, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	said, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	m, read := &machine{}, make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(said); s.Scan(); {
			if l, ok := parseLateness(s.Text()); ok {
				m.add(l)
			}
		}
	}()
	m.end = sync.OnceFunc(func() {
		_ = tether.Close() // it may have ended
		<-read
		_ = c.Wait()
	})
	return m, nil
}

// add keeps what was said of the last minute: an answer is looked at once it is there.
func (m *machine) add(l lateness) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, l)
	m.all = slices.DeleteFunc(m.all, func(o lateness) bool { return o.to.Before(l.to.Add(-time.Minute)) })
}

// lateBy is by how much the machine itself was late within a time, at most as long as
// that was, and what it was that took long, "" if nothing did. Two things that were late at once are the
// same lateness twice.
func (m *machine) lateBy(from, to time.Time) (excused time.Duration, what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sums := map[string]time.Duration{}
	for _, l := range m.all {
		both := min(to.UnixNano(), l.to.UnixNano()) - max(from.UnixNano(), l.from.UnixNano())
		if both > 0 {
			sums[l.by] += min(l.late, time.Duration(both))
			if !l.unexcusing {
				excused = max(excused, sums[l.by])
			}
		}
	}
	var told []string
	for by, late := range sums {
		told = append(told, fmt.Sprintf("%s by %v", by, late.Round(time.Millisecond)))
	}
	slices.Sort(told)
	return min(excused, to.Sub(from)), strings.Join(told, ", ")
}

func (l lateness) String() string {
	return fmt.Sprintf("%d %d %d %t %s", l.from.UnixNano(), l.to.UnixNano(), l.late, l.unexcusing, l.by)
}

func parseLateness(s string) (l lateness, ok bool) {
	f := strings.SplitN(s, " ", 5)
	if len(f) < 5 {
		return l, false
	}
	var n [3]int64
	for i := range n {
		v, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return l, false
		}
		n[i] = v
	}
	return lateness{by: f[4], from: time.Unix(0, n[0]), to: time.Unix(0, n[1]), late: time.Duration(n[2]), unexcusing: f[3] == "true"}, true
}

// looks is the onlooker: until its input ends it says on its output what was late.
func looks(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer os.Remove(path) // whoever writes to it does until the process ends
	over := make(chan struct{})
	go func() { defer close(over); _, _ = io.Copy(io.Discard, os.Stdin) }() // until who started this lets go, or ends
	go func() {
		for {
			began := time.Now()
			_, err := f.WriteAt([]byte("x"), 0)
			if err == nil {
				err = syscall.Fdatasync(int(f.Fd()))
			}
			if took := time.Since(began); took > tellFrom || err != nil {
				tellLate(lateness{by: byDisk, from: began, to: began.Add(took), late: took, unexcusing: true})
			}
			time.Sleep(diskEach * onlookEvery)
		}
	}()
	go tellBusy()
	stolen := stolenTicks()
	for {
		began := time.Now()
		select {
		case <-over:
			return nil
		case <-time.After(onlookEvery):
		}
		now := time.Now()
		if late := now.Sub(began) - onlookEvery; late > tellFrom {
			tellLate(lateness{by: byTimer, from: began, to: now, late: late})
		}
		next := stolenTicks()
		for i := range min(len(next), len(stolen)) {
			if d := time.Duration(next[i]-stolen[i]) * tick; d >= tellFrom {
				// It is counted when it is over.
				tellLate(lateness{by: fmt.Sprintf("%s (cpu%d)", bySteal, i), from: now.Add(-max(d, now.Sub(began))), to: now, late: d})
			}
		}
		stolen = next
	}
}

// tellBusy says when others than this run have much of the machine.
func tellBusy() {
	self, err := os.ReadFile("/proc/self/stat")
	p, ok := parseStat(self)
	if err != nil || !ok {
		return
	}
	var recent busyness
	at, all, had := time.Now(), ran(), known(p.session)
	for {
		time.Sleep(cpuEach * onlookEvery)
		now, sum, has := time.Now(), ran(), known(p.session)
		if l, ok := recent.busy(at, now, sum-all-grown(had, has)); ok {
			tellLate(l)
		}
		at, all, had = now, sum, has
	}
}

// saying is held while a line is written.
var saying sync.Mutex

func tellLate(l lateness) {
	saying.Lock()
	defer saying.Unlock()
	fmt.Println(l)
}

// stolenTicks is for how long the host of a virtual machine has had each of its CPUs
// for others, as proc_stat(5) has it: the eighth figure of a line.
func stolenTicks() (out []int64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil
	}
	return stealIn(b)
}

func stealIn(stat []byte) (out []int64) {
	for line := range bytes.Lines(stat) {
		f := bytes.Fields(line)
		if len(f) < 9 || !bytes.HasPrefix(f[0], []byte("cpu")) || len(f[0]) == len("cpu") {
			continue
		}
		v, err := strconv.ParseInt(string(f[8]), 10, 64)
		if err != nil {
			return nil
		}
		out = append(out, v)
	}
	return out
}

// whereabouts tells what the threads of a daemon do while it does not answer, as
// proc_pid_stat(5) has it, and how long all of them have waited for a CPU.
func whereabouts(n *lab.Node) string {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", n.Cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		return "it has ended"
	}
	states, waits := map[string]int{}, []string{}
	for _, t := range tasks {
		b, err := os.ReadFile(t + "/stat")
		_, after, ok := strings.Cut(string(b), ") ")
		if err != nil || !ok {
			continue
		}
		states[after[:1]]++
		if after[:1] == "D" {
			w, _ := os.ReadFile(t + "/wchan") // it may be over
			waits = append(waits, string(w))
		}
	}
	said := fmt.Sprintf("of its threads %d run or would, %d sleep, %d wait for the kernel, %d are stopped", states["R"], states["S"], states["D"], states["T"])
	if len(waits) > 0 {
		said += " in " + strings.Join(waits, ", ")
	}
	return said
}
