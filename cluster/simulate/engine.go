package simulate

import (
	"time"

	"github.com/mesita/mesita/cluster/allocator"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
)

// engine decides who gets what, and where it goes.
type engine interface {
	// Update takes in what changed.
	Update(v *fsm.View, changes map[fsm.Change]struct{}, all bool)
	// Decide says what to do now, and when to ask again if nothing changes
	// (zero: only then).
	Decide(now time.Time) (cmds []fsm.Command, next time.Time)
}

// newEngine is one that counts how sharing goes; what partitions are entitled to is
// the recorder's to find, by other means.
func newEngine(c *Cluster) (engine, *scheduler.Tallies) {
	e, t := scheduler.NewEngine(newRound), scheduler.NewTallies(scheduler.TallyConfig{Exact: c.Stop == 0})
	e.Count(t)
	return e, t
}

// engineTables are those whose changes an engine has to know.
var engineTables = scheduler.Tables

func newRound(v *fsm.View) scheduler.Round { return allocator.Begin(v) }

// planner says why something waits, or that it never fits.
func planner(now func() time.Time) scheduler.Planner {
	return scheduler.Planner{Now: now, Begin: newRound}
}
