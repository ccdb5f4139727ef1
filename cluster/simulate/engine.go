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

// passes is an engine that looks at everything each time.
type passes struct {
	order *allocator.Allocator
	view  *fsm.View
}

func newEngine(s *fsm.Store, now func() time.Time) engine {
	return &passes{order: allocator.New(s, now, nil)}
}

func (p *passes) Update(v *fsm.View, _ map[fsm.Change]struct{}, _ bool) { p.view = v }

func (p *passes) Decide(now time.Time) ([]fsm.Command, time.Time) {
	return scheduler.Decide(p.view, p.order, now)
}

// engineTables are those whose changes an engine has to know.
var engineTables = []fsm.Table{fsm.TableJobs, fsm.TableTasks, fsm.TableNodes, fsm.TablePartitions, fsm.TableOffers}
