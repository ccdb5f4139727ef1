package simulate

import (
	"time"

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
	view *fsm.View
}

// Partitions lists them by path.
func (p *passes) Partitions(v *fsm.View) (out []string) {
	for q := range v.Partitions() {
		out = append(out, q.Path)
	}
	return out
}

func newEngine(s *fsm.Store, now func() time.Time) engine {
	return &passes{}
}

func (p *passes) Update(v *fsm.View, _ map[fsm.Change]struct{}, _ bool) { p.view = v }

func (p *passes) Decide(now time.Time) ([]fsm.Command, time.Time) {
	return scheduler.Decide(p.view, p, now)
}

// engineTables are those whose changes an engine has to know.
var engineTables = []fsm.Table{fsm.TableJobs, fsm.TableTasks, fsm.TableNodes, fsm.TablePartitions, fsm.TableOffers}
