// Package controller turns what users want into tasks: it makes the tasks of
// services and batches, scales down, replaces old versions, empties draining
// nodes and forgets what ended long ago.
//
// It owns these decisions and nothing else: where a task goes is the
// scheduler's, what follows the end of an attempt is the job's own policy and
// part of fsm's apply. The cluster agent runs it on the leader.
package controller

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/fsm"
)

// chunk is how many tasks one command makes.
const chunk = 1000

// Config is what a controller needs.
type Config struct {
	Store *fsm.Store
	Now   func() time.Time
	Log   *slog.Logger
	// KeepEnded is how long an ended job is kept, KeepJobs how many at most.
	KeepEnded time.Duration
	KeepJobs  int
	// Forgets reports whether Now is to be trusted with what cannot be made again:
	// while it is not, no job is removed for its age. Nil: always.
	Forgets func() bool
}

// DefaultKeepEnded and DefaultKeepJobs bound what is remembered of the past.
const (
	DefaultKeepEnded = 72 * time.Hour
	DefaultKeepJobs  = 20_000
)

// Controller is the loop.
type Controller struct {
	cfg    Config
	look   time.Time            // when it is looked again for what is too old
	unused map[string]time.Time // uploads that no job needs, since when it was seen so
	retry  bool                 // the last decisions may not have been agreed on: look at everything again
}

// New makes a controller; zero bounds get their defaults.
func New(cfg Config) *Controller {
	if cfg.KeepEnded == 0 {
		cfg.KeepEnded = DefaultKeepEnded
	}
	if cfg.KeepJobs == 0 {
		cfg.KeepJobs = DefaultKeepJobs
	}
	if cfg.Forgets == nil {
		cfg.Forgets = func() bool { return true }
	}
	return &Controller{cfg: cfg}
}

// Run works until ctx ends: a full pass at first, then one over what changed.
func (c *Controller) Run(ctx context.Context) error {
	l := &loop.Loop{Store: c.cfg.Store, Now: c.cfg.Now, Pass: c.pass, Tables: []fsm.Table{fsm.TableJobs, fsm.TableNodes, fsm.TablePartitions}}
	return l.Run(ctx)
}

func (c *Controller) pass(ctx context.Context, ch loop.Changes) time.Time {
	v, now := c.cfg.Store.View(), c.cfg.Now()
	cmds := Decide(v, now, ch.Objects, ch.All || c.retry)
	reap, next := c.reap(v, now)
	cmds = append(cmds, reap...)
	if c.look.Sub(now) <= 0 || c.look.Sub(now) > lookEvery { // or the clock was set back
		cmds = append(cmds, c.forget(v, now)...)
	}
	c.retry = false
	if len(cmds) > 0 {
		if _, err := c.cfg.Store.Propose(ctx, cmds...); err != nil {
			if ctx.Err() == nil {
				c.cfg.Log.Warn("changing tasks failed; trying again", "err", fmt.Errorf("propose: %w", err))
			}
			c.retry, next = true, now.Add(100*time.Millisecond)
		}
	}
	for _, d := range []time.Time{drainDeadline(v, now), nextTrial(v, now), c.look} {
		if !d.IsZero() && d.Before(next) {
			next = d
		}
	}
	return next
}

// Decide compares what is wanted with what is there: of all jobs and nodes, or
// of those that changed. It changes nothing itself.
func Decide(v *fsm.View, now time.Time, changes map[fsm.Change]struct{}, all bool) []fsm.Command {
	d := &decision{view: v, now: now, moving: map[string]bool{}}
	if all {
		for j := range v.Jobs() {
			d.job(j)
		}
	} else {
		for ch := range changes {
			if ch.Table == fsm.TableJobs {
				if j := v.Job(ch.ID); j != nil {
					d.job(j)
				}
			}
		}
	}
	for n := range v.Nodes() {
		if n.Drain && n.State != api.NodeGone {
			d.drain(n)
		}
		if due, ok := v.TrialDue(n, now); ok && !due.After(now) {
			d.add(&fsm.NodeTrial{Meta: d.meta(), ID: n.ID, Since: n.Starts.Since})
		}
	}
	d.drainedPartitions()
	return d.cmds
}

// nextTrial is when a node on which starts fail may have a task again, zero if
// none is waited for.
func nextTrial(v *fsm.View, now time.Time) (next time.Time) {
	for n := range v.Nodes() {
		if due, ok := v.TrialDue(n, now); ok && due.After(now) && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	return next
}

type decision struct {
	view   *fsm.View
	now    time.Time
	cmds   []fsm.Command
	moving map[string]bool // jobs of which a task is told to move
}

func (d *decision) meta() fsm.Meta { return fsm.Meta{At: d.now, Actor: "controller"} }

func (d *decision) add(c fsm.Command) { d.cmds = append(d.cmds, c) }

func (d *decision) job(j *api.Job) {
	if j.Stop || j.State.Ended() {
		return
	}
	if j.Spec.Kind == api.KindService {
		d.service(j)
	}
}
