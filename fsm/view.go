package fsm

import (
	"sync"

	"github.com/mesita/mesita/api"
)

// View is the state as it was after one log entry. It never changes, needs no
// lock, and lists in key order. What it returns is shared: do not change it.
type View struct {
	t      tables
	trial  sync.Mutex              // copying the trees writes to them
	remedy func(need Level) string // see Store.SetLevelRemedy
}

// Index is that of the last log entry in the view.
func (v *View) Index() uint64 { return v.t.index }

// LastEvent is the index of the last event in the view.
func (v *View) LastEvent() uint64 { return v.t.event }

// Cluster is nil before the cluster was made.
func (v *View) Cluster() *api.Cluster { return v.t.cluster }

// Authority is the cluster's secrets: keep it away from every API.
func (v *View) Authority() *api.Authority { return v.t.authority }

// Trial is what a command would do to a view.
type Trial struct {
	View  *View // as it would be then
	Value any
	Err   error // the command would be refused
}

// Trial applies a command to a copy of the view.
func (v *View) Trial(c Command) Trial {
	if err := v.Allows(c); err != nil {
		return Trial{View: v, Err: err}
	}
	v.trial.Lock()
	t := v.t.freeze()
	v.trial.Unlock()
	x := &tx{tables: &t, Meta: c.meta(), touch: func(Table, string) {}}
	value, err := c.apply(x)
	return Trial{View: &View{t: t, remedy: v.remedy}, Value: value, Err: err}
}
