package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/fsm"
)

// Meter is told how a scheduler does.
type Meter interface {
	Passed(took time.Duration)
	Placed(waited time.Duration)
}

// Scheduler runs an Engine on a store.
type Scheduler struct {
	meter  Meter // nil = none
	store  *fsm.Store
	engine *Engine
	now    func() time.Time
	log    *slog.Logger
	memory atomic.Pointer[Memory] // after the last pass

	tallies *Tallies
}

// tallyWindow is half of what tallies of a cluster look back at most.
const tallyWindow = 12 * time.Hour

// New makes a scheduler that serves partitions in those rounds.
func New(store *fsm.Store, begin Begin, now func() time.Time, log *slog.Logger) *Scheduler {
	s := &Scheduler{store: store, engine: NewEngine(begin), now: now, log: log, tallies: NewTallies(TallyConfig{Window: tallyWindow, Fair: true})}
	s.engine.Count(s.tallies)
	return s
}

// Tell has the scheduler tell a meter how it does, before it runs.
func (s *Scheduler) Tell(m Meter) { s.meter = m }

// Tallies are how sharing went since it runs, for half a day at least.
func (s *Scheduler) Tallies() *Tallies { return s.tallies }

// Memory is what it remembers since its last pass, nil before the first.
func (s *Scheduler) Memory() *Memory { return s.memory.Load() }

// Tables are those whose changes an Engine follows.
var Tables = []fsm.Table{fsm.TableJobs, fsm.TableNodes, fsm.TableRooms, fsm.TablePartitions}

// Run places tasks until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	l := &loop.Loop{Store: s.store, Tables: Tables, Now: s.now, Pass: s.pass}
	return l.Run(ctx)
}

func (s *Scheduler) pass(ctx context.Context, c loop.Changes) time.Time {
	begun, v := time.Now(), s.store.View()
	s.engine.Update(v, c.Objects, c.All)
	cmds, next := s.engine.Decide(s.now())
	s.memory.Store(s.engine.Remember())
	if s.meter != nil {
		s.meter.Passed(time.Since(begun))
	}
	if len(cmds) == 0 {
		return next
	}
	if _, err := s.store.Propose(ctx, cmds...); err != nil {
		if ctx.Err() == nil {
			s.log.Warn("placing tasks failed; trying again", "err", fmt.Errorf("propose placements: %w", err))
		}
		return s.now().Add(100 * time.Millisecond)
	}
	s.tellPlaced(v, cmds)
	return next
}

// tellPlaced tells how long the tasks had waited that were placed, by what was known
// before.
func (s *Scheduler) tellPlaced(v *fsm.View, cmds []fsm.Command) {
	if s.meter == nil {
		return
	}
	now := s.now()
	for _, cmd := range cmds {
		place, ok := cmd.(*fsm.TaskPlace)
		if !ok {
			continue
		}
		for i := range place.Placements {
			if t := v.TaskOf(place.Placements[i].Job, place.Placements[i].Index); t != nil {
				s.meter.Placed(now.Sub(waitsSince(t)))
			}
		}
	}
}

// waitsSince is since when a task could have been placed.
func waitsSince(t *api.Task) time.Time {
	since := t.Created
	if n := len(t.Earlier); n > 0 && t.Earlier[n-1].Ended.After(since) {
		since = t.Earlier[n-1].Ended
	}
	if t.NotBefore.After(since) {
		since = t.NotBefore
	}
	return since
}
