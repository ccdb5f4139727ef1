package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// batch is how many placements go into one command.
const batch = 512

// maxBlocked is how many jobs that cannot start a pass looks past in each
// partition, so that a long backlog on a full cluster costs a bounded time.
const maxBlocked = 256

// Order says in which order the partitions are served.
type Order interface {
	Partitions(v *fsm.View) []string
}

// Scheduler places pending tasks.
type Scheduler struct {
	store *fsm.Store
	order Order
	now   func() time.Time
	log   *slog.Logger
}

// New makes a scheduler that serves partitions in that order.
func New(store *fsm.Store, order Order, now func() time.Time, log *slog.Logger) *Scheduler {
	return &Scheduler{store: store, order: order, now: now, log: log}
}

// Run places tasks until ctx ends: a full pass at first, then one whenever
// something changed or a back-off is over.
func (s *Scheduler) Run(ctx context.Context) error {
	w := s.store.Watch(fsm.TableTasks, fsm.TableNodes, fsm.TableRooms, fsm.TablePartitions)
	defer w.Close()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Ready():
		case <-timer.C:
		}
		w.Take()
		cmds, next := Decide(s.store.View(), s.order, s.now())
		if err := s.propose(ctx, cmds); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			s.log.Warn("placing tasks failed; trying again", "err", err)
			next = s.now().Add(100 * time.Millisecond)
		}
		if next.IsZero() {
			next = s.now().Add(time.Hour)
		}
		timer.Reset(max(next.Sub(s.now()), time.Millisecond))
	}
}

func (s *Scheduler) propose(ctx context.Context, cmds []fsm.Command) error {
	if len(cmds) == 0 {
		return nil
	}
	if _, err := s.store.Propose(ctx, cmds...); err != nil {
		return fmt.Errorf("propose placements: %w", err)
	}
	return nil
}

// Decide places what fits in one view, and says when the next back-off is over
// (zero: none runs). It changes nothing itself.
func Decide(v *fsm.View, order Order, now time.Time) (cmds []fsm.Command, next time.Time) {
	if v.PendingCount() == 0 {
		return nil, time.Time{}
	}
	p := &pass{view: v, now: now, nodes: candidates(v)}
	if len(p.nodes) == 0 {
		return nil, time.Time{}
	}
	for _, path := range order.Partitions(v) {
		p.partition(path)
	}
	p.flush()
	return p.cmds, p.next
}

// pass is one decision over one view.
type pass struct {
	view  *fsm.View
	now   time.Time
	nodes []*candidate
	next  time.Time
	open  *fsm.TaskPlace
	cmds  []fsm.Command
}

func (p *pass) partition(path string) {
	blocked := 0
	for j := range p.view.PendingJobs(path) {
		if !p.job(j) {
			if blocked++; blocked >= maxBlocked {
				return
			}
		}
	}
}

// job places the job's waiting tasks and tells whether all that may start now
// found a node.
func (p *pass) job(j *api.Job) bool {
	counts := p.jobCounts(j)
	for t := range p.view.PendingTasks(j) {
		if t.NotBefore.After(p.now) {
			if p.next.IsZero() || t.NotBefore.Before(p.next) {
				p.next = t.NotBefore
			}
			continue
		}
		spec := j.SpecOf(t.Version)
		if spec == nil {
			continue
		}
		c := choose(p.nodes, spec, t.Resources, func(c *candidate) int { return counts[c.node.ID] })
		if c == nil {
			return false
		}
		p.place(t, spec, c)
		if counts != nil {
			counts[c.node.ID]++
		}
	}
	return true
}

// jobCounts is how many tasks of a service each node has.
func (p *pass) jobCounts(j *api.Job) map[string]int {
	if j.Spec.Kind != api.KindService {
		return nil
	}
	counts := map[string]int{}
	for t := range p.view.JobTasks(j.ID) {
		if t.Holds() {
			counts[t.NodeID]++
		}
	}
	return counts
}

func (p *pass) place(t *api.Task, spec *api.JobSpec, c *candidate) {
	need := t.Resources
	ports, taken := pickPorts(spec, t, c.free.Ports)
	need.Ports = taken
	c.free = c.free.Minus(need)
	if p.open == nil {
		p.open = &fsm.TaskPlace{Meta: fsm.Meta{At: p.now, Actor: "scheduler"}}
	}
	p.open.Placements = append(p.open.Placements, fsm.Placement{Task: t.ID, Job: t.Job, Index: t.Index, Attempt: t.Attempt,
		NodeID: c.node.ID, Resources: need, Ports: ports})
	if len(p.open.Placements) >= batch {
		p.flush()
	}
}

func (p *pass) flush() {
	if p.open != nil {
		p.cmds = append(p.cmds, p.open)
		p.open = nil
	}
}
