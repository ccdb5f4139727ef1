// Package skew owns what a leader knows of clocks: by how much each node's differs
// from what most have, which it has recorded, and whether its own can be trusted
// to remove what is old. It does not know how a clock is read, nor what is old;
// package cluster runs it while the node leads.
package skew

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/fsm"
)

const (
	skewEvery = 5 * time.Minute // the clocks of all nodes are compared
	skewFirst = 5 * time.Second // and until most voters have the leader's time, ever less often
	skewTold  = 5 * time.Second // what is worth telling
	skewOver  = 3 * time.Second // what is not any more
)

// Config is what a Loop needs.
type Config struct {
	Self  string // id of this node
	Store *fsm.Store
	// Read is a node's time of day, and Wall this node's.
	Read func(ctx context.Context, id string) (time.Time, error)
	Wall func() time.Time
	Now  func() time.Time // of commands
	Log  *slog.Logger

	Voters   func() []string
	HandOver func(ctx context.Context, id string) error // the lead
	Trust    *Trust
}

// Loop compares the clocks of all nodes while this node leads, and has it told
// which are off. Nothing that matters goes by a node's clock alone; but logs
// and certificates do. The voters are asked as it comes to lead: see Trust.
type Loop struct{ Config }

// New makes a Loop.
func New(cfg Config) *Loop { return &Loop{cfg} }

// Run compares until ctx ends.
func (s *Loop) Run(ctx context.Context) error {
	s.judge(ctx, s.measure(ctx, s.Store.View(), s.Voters()))
	again := 2 * skewFirst
	for wait := skewFirst; backoff.Pause(ctx, wait); {
		v := s.Store.View()
		ahead := s.measure(ctx, v, nil)
		if v.Does(fsm.NodeClocks) {
			s.tell(ctx, v, ahead)
		}
		if wait = skewEvery; !s.judge(ctx, ahead) {
			wait, again = again, min(2*again, skewEvery)
		}
	}
	return nil
}

// measure is by how much each node's clock is ahead of this one's, of those
// asked (nil: all) that answer.
func (s *Loop) measure(ctx context.Context, v *fsm.View, ask []string) map[string]time.Duration {
	ahead := map[string]time.Duration{s.Self: 0}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(8)
	for n := range v.Nodes() {
		if n.ID == s.Self || ask != nil && !slices.Contains(ask, n.ID) || n.State != api.NodeReady && n.State != api.NodeDraining {
			continue
		}
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			before := s.Wall()
			at, err := s.Read(ctx, n.ID)
			if err != nil {
				return nil //nolint:nilerr // it is asked again, and silence is liveness's affair
			}
			middle := before.Add(s.Wall().Sub(before) / 2)
			mu.Lock()
			defer mu.Unlock()
			ahead[n.ID] = at.Sub(middle)
			return nil
		})
	}
	_ = group.Wait() // none fails
	return ahead
}

// usual is what most clocks say: the median, and of two in the middle the one
// that is nearer to this node's.
func usual(ahead map[string]time.Duration) time.Duration {
	var all []time.Duration
	for _, d := range ahead {
		all = append(all, d)
	}
	slices.Sort(all)
	a, b := all[(len(all)-1)/2], all[len(all)/2]
	if a.Abs() <= b.Abs() {
		return a
	}
	return b
}

// tell records what changed enough, at the time that most have: what is told at
// a wrong one would have older incidents forgotten.
func (s *Loop) tell(ctx context.Context, v *fsm.View, ahead map[string]time.Duration) {
	most, at := usual(ahead), s.Now()
	if !s.Trust.Holds() {
		at = s.Wall().Add(most)
	}
	for id, d := range ahead {
		n := v.Node(id)
		if n == nil {
			continue
		}
		off, was := (d - most).Round(time.Second), time.Duration(n.ClockOff)
		if off.Abs() < skewOver || was == 0 && off.Abs() < skewTold {
			off = 0
		}
		if off == was || off != 0 && was != 0 && (off-was).Abs() < max(skewTold, was.Abs()/10) {
			continue
		}
		_, err := s.Store.Do(ctx, &fsm.NodeClock{Meta: fsm.Meta{At: at, Actor: "skew"}, ID: id, Off: api.Duration(off)})
		if err != nil && ctx.Err() == nil {
			s.Log.Warn("recording that a node's clock is off failed", "node", n.Name, "err", err)
		}
	}
}
