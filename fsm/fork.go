package fsm

import (
	"maps"

	"github.com/mesita/mesita/api"
)

// Fork is a copy of a view in which commands take effect that nobody is asked
// for: what would become of the state. It is used from one goroutine.
type Fork struct {
	view    *View
	changes map[Change]struct{}
}

// Fork begins one.
func (v *View) Fork() *Fork { return &Fork{view: v, changes: map[Change]struct{}{}} }

// View is the state as it would be by now.
func (f *Fork) View() *View { return f.view }

// Take returns what changed since it was asked last.
func (f *Fork) Take() map[Change]struct{} {
	changes := f.changes
	f.changes = map[Change]struct{}{}
	return changes
}

// Mark has changes that were taken be among those of the next Take again.
func (f *Fork) Mark(changes map[Change]struct{}) { maps.Copy(f.changes, changes) }

// Do applies a command; one that is refused changes nothing.
func (f *Fork) Do(c Command) (value any, err error) {
	if err := f.view.Allows(c); err != nil {
		return nil, err
	}
	f.change(c.meta(), func(x *tx) { value, err = c.apply(x) })
	return value, err
}

// Ask has the waiting tasks of a job ask for what a spec says instead, with
// nothing else changed, its place in the queue least of all.
func (f *Fork) Ask(job string, s *api.JobSpec) {
	f.change(Meta{}, func(x *tx) {
		old := x.jobAt(job)
		if old == nil {
			return
		}
		j := *old
		if j.Spec = s; j.Spec.Kind == api.KindBatch && j.Made == 0 {
			j.Counts.Pending = s.Tasks() - j.Skipped
		}
		x.replaceJob(&j)
		for _, t := range x.jobTasks(job) {
			if t.Pending() && t.Version == j.Version {
				u := *t
				u.Resources = s.Need()
				x.putTask(&u)
			}
		}
	})
}

func (f *Fork) change(m Meta, do func(x *tx)) {
	v := f.view
	v.trial.Lock()
	t := v.t.freeze()
	v.trial.Unlock()
	touch := func(table Table, id string) { f.changes[Change{table, id}] = struct{}{} }
	do(&tx{tables: &t, Meta: m, touch: touch})
	f.view = &View{t: t, remedy: v.remedy}
}
