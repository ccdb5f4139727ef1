package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/mesita/mesita/api/client"
	"github.com/mesita/mesita/api/client/framework"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// scheduler is a framework that does as it is told, one offer at a time.
type scheduler struct {
	framework.Framework
	offers  chan *framework.Offer
	tasks   chan []framework.Task // what to start in the last of offers; none: decline it
	updates chan framework.Update
	subs    chan string
	ended   chan error
	stop    context.CancelFunc
}

// framework connects one by the socket of a node.
func (n *node) framework(name string) (*scheduler, error) {
	c, err := client.New(client.Config{Socket: n.socket})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &scheduler{offers: make(chan *framework.Offer), tasks: make(chan []framework.Task), updates: make(chan framework.Update, 10_000), subs: make(chan string, 1000), ended: make(chan error, 1), stop: cancel}
	s.Name, s.Refuse, s.FailoverTimeout = name, time.Millisecond, time.Minute
	s.Subscribed = func(id string) { s.subs <- id }
	s.Update = func(u framework.Update) { s.updates <- u }
	s.Offer = func(o *framework.Offer) {
		select {
		case s.offers <- o:
		case <-ctx.Done():
			return
		}
		select {
		case tasks := <-s.tasks:
			for _, t := range tasks {
				o.Launch(t)
			}
		case <-ctx.Done():
		}
	}
	go func() { s.ended <- s.Run(ctx, c) }()
	return s, nil
}

const patience = 30 * time.Second

// offer is the next one, which has to be answered by tasks.
func (s *scheduler) offer() (*framework.Offer, error) {
	select {
	case o := <-s.offers:
		return o, nil
	case err := <-s.ended:
		return nil, fmt.Errorf("the framework ended: %w", err)
	case <-time.After(patience):
		return nil, errors.New("no offer came")
	}
}

// until waits for so many tasks, whose ids begin alike, to run.
func (s *scheduler) until(ids string, count int) (last framework.Update, err error) {
	end := time.After(patience)
	for count > 0 {
		select {
		case last = <-s.updates:
			if !strings.HasPrefix(last.Task, ids) {
				continue
			}
			if last.State == v1.TaskStateRunning {
				count--
			} else if last.Ended() {
				return last, fmt.Errorf("%s is %v: %s", last.Task, last.State, v1.Get(last.Message))
			}
		case <-s.offers: // of what is left
			s.tasks <- nil
		case err := <-s.ended:
			return last, fmt.Errorf("the framework ended: %w", err)
		case <-end:
			return last, fmt.Errorf("%d tasks do not run yet", count)
		}
	}
	return last, nil
}

func (s *scheduler) end() {
	_ = s.Teardown(context.Background()) // the node is ended either way
	s.stop()
}

// benchFramework measures what a framework on one node waits for, and what that costs.
func benchFramework(b *bench) error {
	executing := b.figure("framework: ACCEPT → process executing", "ms", 12)
	freed := b.figure("framework: a task's end → its room offered again", "ms", 10)
	all := b.figure("framework: 1,000 tasks in one ACCEPT → all seen running", "s", 3)
	cpu := b.figure("  CPU of daemon and keeper for each of them", "ms", 2)
	if err := onesOfAFramework(b, executing, freed); err != nil {
		return err
	}
	for range b.times(3) {
		took, used, err := thousandOfAFramework(b)
		if err != nil {
			return err
		}
		all.add(took.Seconds())
		cpu.add(used) // seconds for a thousand are ms for one
	}
	return nil
}

// onesOfAFramework starts and ends one task after the other.
func onesOfAFramework(b *bench, executing, freed *figure) error {
	n, err := b.one()
	if err != nil {
		return err
	}
	defer n.end()
	s, err := n.framework("bench")
	if err != nil {
		return err
	}
	defer s.end()
	o, err := s.offer()
	if err != nil {
		return err
	}
	for i := range b.times(31) + 1 {
		var e, f time.Duration
		if e, f, o, err = oneOfAFramework(b, s, o, i); err != nil {
			return err
		}
		if i > 0 { // the first starts the keeper
			executing.add(ms(e))
			freed.add(ms(f))
		}
	}
	return nil
}

// oneOfAFramework starts a task that takes all of an offer, ends it from outside, and has
// the offer of its room then, which is not answered yet.
func oneOfAFramework(b *bench, s *scheduler, o *framework.Offer, i int) (executing, freed time.Duration, next *framework.Offer, err error) {
	program, execs, err := b.watched()
	if err != nil {
		return 0, 0, nil, err
	}
	time.Sleep(20 * time.Millisecond) // the watcher waits
	begin := time.Now()
	id := fmt.Sprint("one-", i)
	s.tasks <- []framework.Task{{ID: id, CPUs: o.CPUs, Mem: o.Mem, Command: []string{program, "60"}}}
	select {
	case at := <-execs:
		executing = at.Sub(begin)
	case <-time.After(patience):
		return 0, 0, nil, errors.New("the task was not seen to execute")
	}
	u, err := s.until(id, 1)
	if err != nil {
		return 0, 0, nil, err
	}
	time.Sleep(50 * time.Millisecond) // it is acknowledged
	pid := int(v1.Get(u.ContainerStatus.ExecutorPID))
	if pid <= 1 {
		return 0, 0, nil, fmt.Errorf("%s has no process", u.Task)
	}
	begin = time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return 0, 0, nil, err
	}
	next, err = s.offer()
	return executing, time.Since(begin), next, err
}

// thousandOfAFramework starts a thousand tasks on a node that has nothing else to do.
func thousandOfAFramework(b *bench) (took time.Duration, used float64, err error) {
	n, err := b.one()
	if err != nil {
		return 0, 0, err
	}
	defer n.end()
	if err := n.runOne(); err != nil { // starts the keeper
		return 0, 0, err
	}
	s, err := n.framework("thousand")
	if err != nil {
		return 0, 0, err
	}
	defer s.end()
	if _, err := s.offer(); err != nil {
		return 0, 0, err
	}
	var tasks []framework.Task
	for i := range 1000 {
		tasks = append(tasks, framework.Task{ID: fmt.Sprint("t-", i), CPUs: 0.1, Mem: 8 << 20, Command: []string{"/bin/sleep", "1000"}})
	}
	before, _ := n.cpu()
	begin := time.Now()
	s.tasks <- tasks
	_, err = s.until("t-", len(tasks))
	took = time.Since(begin)
	after, _ := n.cpu()
	return took, after - before, err
}

// benchFrameworkFailover kills the leader of three under a framework that is connected to
// another node, and to which nothing was left to offer.
func benchFrameworkFailover(b *bench) error {
	f := b.figure("leader kill -9 → a framework is subscribed and offered again", "ms", 1200)
	for range b.times(5) {
		took, err := frameworkFailoverOnce(b)
		if err != nil {
			return err
		}
		f.add(ms(took))
	}
	return nil
}

func frameworkFailoverOnce(b *bench) (time.Duration, error) {
	nodes, _, end, err := b.three()
	defer end()
	if err != nil {
		return 0, err
	}
	leader, other, err := leaderOf(nodes)
	if err != nil {
		return 0, err
	}
	s, err := other.framework("bench")
	if err != nil {
		return 0, err
	}
	defer s.end()
	s.Refuse = time.Hour
	if _, err := s.offer(); err != nil {
		return 0, err
	}
	s.tasks <- nil
	<-s.subs
	for declined := false; !declined; { // the offers of all nodes
		select {
		case <-s.offers:
			s.tasks <- nil
		case <-time.After(time.Second):
			declined = true
		}
	}
	begin := time.Now()
	leader.kill()
	if _, err := s.offer(); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	s.tasks <- nil
	return took, nil
}

// benchFrameworkIdle has 200 frameworks decline what they are offered, for 5 s each time.
func benchFrameworkIdle(b *bench) error {
	cpu := b.figure("200 frameworks that decline for 5 s: CPU of the leader", "% core", 2)
	entries := b.figure("200 frameworks that decline for 5 s: Raft entries per minute (+1)", "", 3)
	n, err := b.one()
	if err != nil {
		return err
	}
	defer n.end()
	c, err := client.New(client.Config{Socket: n.socket})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 200)
	defer cancel()
	for i := range 200 {
		f := &framework.Framework{Name: fmt.Sprint("idle-", i)}
		go func() { ended <- f.Run(ctx, c) }()
	}
	time.Sleep(30 * time.Second) // each was offered what there is
	var before, after health
	if err := n.call(http.MethodGet, "/v1/health", nil, &before); err != nil {
		return err
	}
	c0, _ := n.cpu()
	select {
	case <-time.After(time.Minute):
	case err := <-ended:
		return fmt.Errorf("a framework ended: %w", err)
	}
	c1, _ := n.cpu()
	if err := n.call(http.MethodGet, "/v1/health", nil, &after); err != nil {
		return err
	}
	cpu.add((c1 - c0) / 60 * 100)
	entries.add(float64(after.Index-before.Index) + 1)
	return nil
}
