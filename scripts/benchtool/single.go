package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

func benchBinary(b *bench) error {
	info, err := os.Stat(b.mesita)
	if err != nil {
		return err
	}
	b.figure("binary, stripped", "MB", 25).add(float64(info.Size()) / 1e6)
	return nil
}

func benchStart(b *bench) error {
	leader := b.figure("start of the first node → API answers as leader", "ms", 150)
	first := b.figure("start of the first node → first task running", "ms", 80)
	for range b.times(7) {
		if err := startOnce(b, leader, first); err != nil {
			return err
		}
	}
	return nil
}

func startOnce(b *bench, leader, first *figure) error {
	n := b.newNode(1, "start")
	defer n.end()
	begin := time.Now()
	if err := n.start(); err != nil {
		return err
	}
	if err := n.awaitLeader(time.Millisecond); err != nil {
		return err
	}
	leader.add(ms(time.Since(begin)))
	j, err := n.submit(batch("/bin/sleep", "30"))
	if err != nil {
		return err
	}
	if err := n.awaitRunning(j.ID, 1); err != nil {
		return err
	}
	first.add(ms(time.Since(begin)))
	return nil
}

// awaitRunning waits by the server's own wait, which does not poll.
func (n *node) awaitRunning(id string, count int) error {
	var j job
	if err := n.call(http.MethodGet, "/v1/jobs/"+id+"?wait=running&timeout=60s", nil, &j); err != nil {
		return err
	}
	if j.Counts.Running < count {
		return fmt.Errorf("job %s: %d run, want %d", id, j.Counts.Running, count)
	}
	return nil
}

func (n *node) awaitEnded(id string) (job, error) {
	var j job
	err := n.call(http.MethodGet, "/v1/jobs/"+id+"?wait=ended&timeout=5m", nil, &j)
	return j, err
}

// one starts a single node for a benchmark.
func (b *bench) one() (*node, error) {
	n := b.newNode(1, "start")
	if err := n.startReady(); err != nil {
		n.end()
		return nil, err
	}
	return n, nil
}

func benchWarm(b *bench) error {
	executing := b.figure("warm: submit → process executing", "ms", 4)
	running := b.figure("warm: submit → running seen by the client", "ms", 8)
	n, err := b.one()
	if err != nil {
		return err
	}
	defer n.end()
	for i := range b.times(31) + 1 {
		e, r, err := warmOnce(b, n)
		if err != nil {
			return err
		}
		if i > 0 { // the first starts the keeper
			executing.add(ms(e))
			running.add(ms(r))
		}
	}
	return nil
}

// warmOnce follows the event stream while a task is submitted whose program is
// watched: the kernel opens it in its exec. The time of a file that the program
// makes would be that of the kernel's last tick, up to 4 ms earlier.
func warmOnce(b *bench, n *node) (executing, running time.Duration, err error) {
	program, execs, err := b.watched()
	if err != nil {
		return 0, 0, err
	}
	defer os.Remove(program)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	runs, err := n.seenRunning(ctx)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(20 * time.Millisecond) // both wait
	begin := time.Now()
	j, err := n.submit(batch(program, "60"))
	if err != nil {
		return 0, 0, err
	}
	defer n.remove(j.ID) // before the program, whose file it is
	for _, w := range []struct {
		c    chan time.Time
		took *time.Duration
	}{{execs, &executing}, {runs, &running}} {
		select {
		case at := <-w.c:
			*w.took = at.Sub(begin)
		case <-ctx.Done():
			return 0, 0, errors.New("the task was not seen running")
		}
	}
	return executing, running, nil
}

// watched makes a program, and tells when it is first opened.
func (b *bench) watched() (path string, opened chan time.Time, err error) {
	sleep, err := os.ReadFile("/bin/sleep")
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(b.dir, strconv.FormatInt(time.Now().UnixNano(), 36))
	if err := os.WriteFile(path, sleep, 0o755); err != nil {
		return "", nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return "", nil, os.NewSyscallError("inotify_init1", err)
	}
	watch := os.NewFile(uintptr(fd), "watch")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_OPEN|unix.IN_DELETE_SELF); err != nil {
		return "", nil, errors.Join(os.NewSyscallError("inotify_add_watch", err), watch.Close())
	}
	opened = make(chan time.Time, 1)
	go func() {
		if _, err := watch.Read(make([]byte, 4096)); err == nil { // who waits for it has a timeout
			opened <- time.Now()
		}
		_ = watch.Close() // it was only read
	}()
	return path, opened, nil
}

// seenRunning tells when the next event comes of a task that runs.
func (n *node) seenRunning(ctx context.Context) (chan time.Time, error) {
	var recent struct {
		Items []struct{ Index uint64 }
	}
	if err := n.call(http.MethodGet, "/v1/events?limit=1", nil, &recent); err != nil {
		return nil, err
	}
	after := uint64(0)
	if len(recent.Items) > 0 {
		after = recent.Items[len(recent.Items)-1].Index
	}
	seen := make(chan time.Time, 1)
	go func() {
		_ = n.events(ctx, after, func(data []byte) bool { // who waits for it has a timeout
			var e struct {
				Kind string
				Task *task
			}
			if json.Unmarshal(data, &e) == nil && e.Task != nil && e.Task.State == "TASK_RUNNING" {
				seen <- time.Now()
				return false
			}
			return true
		})
	}()
	return seen, nil
}

func benchArray(b *bench) error {
	cpu := b.figure("the same: CPU of daemon and keeper for each", "ms", 2)
	inits := b.figure("the same: CPU of the keeper's children, an init and /bin/true, for each", "ms", 1.25)
	for _, cpus := range []float64{0.1, 0.001} {
		f := b.figure(fmt.Sprintf("1,000 tasks of /bin/true in one array, --cpus %g: submit → all ended", cpus), "s", 1.8)
		if err := arrayOf(b, cpus, f, cpu, inits); err != nil {
			return err
		}
	}
	return nil
}

func arrayOf(b *bench, cpus float64, f, cpu, inits *figure) error {
	n, err := b.one()
	if err != nil {
		return err
	}
	defer n.end()
	if err := n.runOne(); err != nil {
		return err
	}
	for range b.times(5) {
		s := batch("/bin/true")
		s["array"], s["cpus"] = "0-999", cpus
		begin := time.Now()
		own, children := n.cpu()
		j, err := n.submit(s)
		if err != nil {
			return err
		}
		if j, err = n.awaitEnded(j.ID); err != nil {
			return err
		}
		if j.Counts.Finished != 1000 {
			return fmt.Errorf("%d of 1000 finished", j.Counts.Finished)
		}
		f.add(time.Since(begin).Seconds())
		own1, children1 := n.cpu()
		cpu.add(own1 - own) // seconds of 1,000, so ms of one
		inits.add(children1 - children)
	}
	return nil
}

func benchJobs(b *bench) error {
	f := b.figure("1,000 jobs of one task over 16 connections: → all ended", "s", 4)
	n, err := b.one()
	if err != nil {
		return err
	}
	defer n.end()
	for range b.times(3) {
		begin := time.Now()
		ids := make([]string, 1000)
		if err := parallel(16, len(ids), func(i int) error {
			j, err := n.submit(batch("/bin/true"))
			ids[i] = j.ID
			return err
		}); err != nil {
			return err
		}
		if err := parallel(16, len(ids), func(i int) error {
			j, err := n.awaitEnded(ids[i])
			if err == nil && j.State != "finished" {
				err = fmt.Errorf("job %s is %s", j.ID, j.State)
			}
			return err
		}); err != nil {
			return err
		}
		f.add(time.Since(begin).Seconds())
	}
	return nil
}

// parallel calls f(0) to f(n-1) from a number of workers, and returns the first
// error.
func parallel(workers, n int, f func(int) error) error {
	next := make(chan int)
	errs := make(chan error, workers)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// benchIdle watches a node that ran a task, so that its keeper is there, and does
// nothing.
func benchIdle(b *bench) error {
	resident := b.figure("idle node: RSS of daemon and keeper, what both have mapped counted once", "MB", 20)
	cpu := b.figure("idle node: CPU of daemon and keeper", "% core", 0.15)
	entries := b.figure("idle node: Raft entries per minute (+1)", "", 1)
	written := b.figure("idle node: bytes written per minute (+1)", "", 4097)
	n, err := b.one()
	if err != nil {
		return err
	}
	defer n.end()
	if err := n.runOne(); err != nil {
		return err
	}
	time.Sleep(10 * time.Second) // settles
	var before, after health
	if err := n.call(http.MethodGet, "/v1/health", nil, &before); err != nil {
		return err
	}
	c0, _ := n.cpu()
	w0 := wrote(n.cmd.Process.Pid)
	time.Sleep(time.Minute)
	c1, _ := n.cpu()
	w1 := wrote(n.cmd.Process.Pid)
	if err := n.call(http.MethodGet, "/v1/health", nil, &after); err != nil {
		return err
	}
	m := n.memory()
	resident.add(m.shared)
	resident.note = fmt.Sprintf("their own %.1f; of the daemon alone %.1f", m.own, m.daemon)
	cpu.add(max(c1-c0, 0.001) / 60 * 100)
	entries.add(float64(after.Index-before.Index) + 1)
	written.add(w1 - w0 + 1)
	return nil
}

// runOne runs a task to its end: the keeper is there from the first on.
func (n *node) runOne() error {
	j, err := n.submit(batch("/bin/true"))
	if err != nil {
		return err
	}
	_, err = n.awaitEnded(j.ID)
	return err
}

func benchMemory(b *bench) error {
	f := b.figure("memory per running task beyond its own, init included (of 200)", "MB", 0.1)
	n, err := b.one()
	if err != nil {
		return err
	}
	defer n.end()
	use := func() float64 { return n.memory().own + n.inits() }
	warm, err := n.submit(batch("/bin/sleep", "600")) // the keeper is there from the first task on
	if err != nil {
		return err
	}
	if err := n.awaitRunning(warm.ID, 1); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	before := use()
	s := batch("/bin/sleep", "600")
	s["array"] = "0-199"
	j, err := n.submit(s)
	if err != nil {
		return err
	}
	if err := await("200 tasks to run", time.Minute, 50*time.Millisecond, func() bool {
		var now job
		return n.call(http.MethodGet, "/v1/jobs/"+j.ID, nil, &now) == nil && now.Counts.Running == 200
	}); err != nil {
		return err
	}
	time.Sleep(5 * time.Second)
	f.add((use() - before) / 200)
	return nil
}
