package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/fsm"
)

// Scheduler runs an Engine on a store.
type Scheduler struct {
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
	s.engine.Update(s.store.View(), c.Objects, c.All)
	cmds, next := s.engine.Decide(s.now())
	s.memory.Store(s.engine.Remember())
	if len(cmds) == 0 {
		return next
	}
	if _, err := s.store.Propose(ctx, cmds...); err != nil {
		if ctx.Err() == nil {
			s.log.Warn("placing tasks failed; trying again", "err", fmt.Errorf("propose placements: %w", err))
		}
		return s.now().Add(100 * time.Millisecond)
	}
	return next
}
