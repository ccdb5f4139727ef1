package operator

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// news is something that changed, as subscribers are told of it.
type news struct {
	revision uint64 // of the row
	task     *api.Task
	earlier  *api.Task      // as the task was in an attempt before, of which this is
	of       *api.Framework // nil, as the task: it is of a node, which everybody sees
	event    func(r *rows.Rows) *v1.MasterEvent
	records  [2][rows.Grades][]byte // by format, of who sees the same as all others
}

// seen reports whether a subscriber is told.
func (n *news) seen(r *rows.Rows) bool {
	switch {
	case n.task != nil:
		return r.SeesTask(n.task) && (n.earlier == nil || r.SeesAttempt(n.earlier))
	case n.of != nil:
		return r.SeesFramework(n.of)
	}
	return true
}

// record is what a subscriber is sent. Of a framework each sees what is of its partitions,
// of a task all of a grade the same; all else is the same for all. That is written once.
func (n *news) record(f wire.Format, r *rows.Rows) []byte {
	var g rows.Grade
	if n.task != nil {
		g = r.Grade(n.task)
	}
	if n.of == nil && n.records[f][g] != nil {
		return n.records[f][g]
	}
	b, err := wire.Marshal(f, n.event(r))
	if err != nil {
		return nil
	}
	n.records[f][g] = wire.AppendRecord(nil, b)
	return n.records[f][g]
}

// taskSeen is what subscribers were told of a task.
type taskSeen struct {
	attempt int
	state   api.TaskState
	healthy int8
}

type taskKey struct {
	job   string
	index int
}

// known is what subscribers know, so that only what is new to them is told. It is there
// while there are some.
type known struct {
	tasks      map[taskKey]taskSeen
	nodes      map[string]bool
	frameworks map[string]uint64 // by which revision
}

func newKnown() *known { return &known{} }

// learn takes all of a view for known.
func (k *known) learn(v *fsm.View) {
	*k = known{tasks: map[taskKey]taskSeen{}, nodes: map[string]bool{}, frameworks: map[string]uint64{}}
	for j := range v.Jobs() {
		for t := range v.MadeTasks(j.ID) {
			if rows.KindOf(t) != rows.None {
				k.tasks[taskKey{t.Job, t.Index}] = seenOf(t)
			}
		}
	}
	for n := range v.Nodes() {
		if rows.Registered(n) {
			k.nodes[n.ID] = true
		}
	}
	for f := range v.Frameworks() {
		if f.Ended.IsZero() {
			k.frameworks[f.ID] = f.Revision
		}
	}
}

func seenOf(t *api.Task) taskSeen {
	s := taskSeen{attempt: t.Attempt, state: t.State}
	if t.Healthy != nil {
		s.healthy = 1
		if *t.Healthy {
			s.healthy = 2
		}
	}
	return s
}

// news are those of what may have changed, in the order in which they are understood: what
// runs something is there before it, and goes after it. What changed more than once since
// is told as it is now.
func (k *known) news(v *fsm.View, changes map[fsm.Change]struct{}) []news {
	var came, went, tasks []news
	for c := range changes {
		switch c.Table {
		case fsm.TableTasks:
			tasks = k.task(v, c.ID, tasks)
		case fsm.TableNodes:
			came, went = k.node(v, c.ID, came, went)
		case fsm.TableFrameworks:
			if f := v.Framework(c.ID); f != nil && !f.Ended.IsZero() && k.frameworks[c.ID] != 0 { // the view may be newer than the changes, which then lack its last tasks
				for t := range v.FrameworkTasks(f.ID) {
					tasks = k.task(v, t.ID, tasks)
				}
			}
			came, went = k.framework(v, c.ID, came, went)
		}
	}
	slices.SortStableFunc(tasks, func(a, b news) int {
		return cmp.Or(cmp.Compare(a.revision, b.revision), cmp.Compare(a.task.ID, b.task.ID))
	})
	return slices.Concat(came, tasks, went)
}

func (k *known) node(v *fsm.View, id string, came, went []news) ([]news, []news) {
	n := v.Node(id)
	is, was := rows.Registered(n), k.nodes[id]
	switch {
	case is && !was:
		k.nodes[id] = true
		came = append(came, news{revision: n.Revision, event: func(r *rows.Rows) *v1.MasterEvent {
			e := event(v1.MasterEventTypeAgentAdded)
			e.AgentAdded = &v1.MasterEventAgentAdded{Agent: r.Agent(n)}
			return e
		}})
	case was && !is:
		delete(k.nodes, id)
		went = append(went, news{revision: n.Revision, event: func(*rows.Rows) *v1.MasterEvent { // no node is ever forgotten
			e := event(v1.MasterEventTypeAgentRemoved)
			e.AgentRemoved = &v1.MasterEventAgentRemoved{AgentID: &v1.AgentID{Value: id}}
			return e
		}})
	}
	return came, went
}

func (k *known) framework(v *fsm.View, id string, came, went []news) ([]news, []news) {
	f, was := v.Framework(id), k.frameworks[id]
	switch {
	case f == nil:
		delete(k.frameworks, id)
	case !f.Ended.IsZero() && was != 0:
		delete(k.frameworks, id)
		went = append(went, news{revision: f.Revision, of: f, event: func(r *rows.Rows) *v1.MasterEvent {
			e := event(v1.MasterEventTypeFrameworkRemoved)
			e.FrameworkRemoved = &v1.MasterEventFrameworkRemoved{FrameworkInfo: r.FrameworkInfo(f)}
			return e
		}})
	case f.Ended.IsZero() && was != f.Revision:
		k.frameworks[id] = f.Revision
		came = append(came, news{revision: f.Revision, of: f, event: func(r *rows.Rows) *v1.MasterEvent {
			e := event(v1.MasterEventTypeFrameworkAdded)
			if was != 0 {
				e = event(v1.MasterEventTypeFrameworkUpdated)
				e.FrameworkUpdated = &v1.MasterEventFrameworkUpdated{Framework: r.Framework(f)}
				return e
			}
			e.FrameworkAdded = &v1.MasterEventFrameworkAdded{Framework: r.Framework(f)}
			return e
		}})
	}
	return came, went
}

// task appends what is new of a task: that it is there, and how it is; before that how its
// earlier attempt ended, which has the same id.
func (k *known) task(v *fsm.View, id string, out []news) []news {
	t := v.Task(id)
	if t == nil {
		dot := strings.LastIndexByte(id, '.')
		if index, err := strconv.Atoi(id[dot+1:]); err == nil && dot > 0 {
			delete(k.tasks, taskKey{id[:dot], index})
		}
		return out
	}
	key := taskKey{t.Job, t.Index}
	old, was := k.tasks[key]
	if was && old.attempt != t.Attempt {
		if n := len(t.Earlier); n > 0 && !old.state.Final() {
			earlier := ended(t, &t.Earlier[n-1])
			last := updated(t, earlier)
			last.earlier = earlier
			out = append(out, last)
		}
		delete(k.tasks, key)
		was = false
	}
	if rows.KindOf(t) == rows.None {
		return out
	}
	now := seenOf(t)
	if !was {
		out = append(out, news{revision: t.Revision, task: t, event: func(r *rows.Rows) *v1.MasterEvent {
			e, m := event(v1.MasterEventTypeTaskAdded), r.Task(t)
			m.State, m.Statuses, m.StatusUpdateState = v1.TaskStateStaging, nil, nil // as it began
			e.TaskAdded = &v1.MasterEventTaskAdded{Task: m}
			return e
		}})
		old = taskSeen{attempt: t.Attempt}
	}
	if k.tasks[key] = now; now != old {
		out = append(out, updated(t, t))
	}
	return out
}

// updated tells how a task is, or how it was in an earlier attempt.
func updated(t, as *api.Task) news {
	return news{revision: t.Revision, task: t, event: func(r *rows.Rows) *v1.MasterEvent {
		e := event(v1.MasterEventTypeTaskUpdated)
		st := r.Status(as)
		e.TaskUpdated = &v1.MasterEventTaskUpdated{FrameworkID: &v1.FrameworkID{Value: rows.FrameworkOf(t)}, Status: st, State: st.State}
		return e
	}}
}

// ended is a task as it was when an attempt had ended.
func ended(t *api.Task, a *api.Attempt) *api.Task {
	e := *t
	e.Attempt, e.Version, e.NodeID, e.State, e.Started, e.Ended = a.Attempt, a.Version, a.NodeID, a.State, a.Started, a.Ended
	e.ExitCode, e.Signal, e.Reason, e.Message = a.ExitCode, a.Signal, a.Reason, a.Message
	e.Healthy, e.Check = nil, nil
	return &e
}

func event(t v1.MasterEventType) *v1.MasterEvent { return &v1.MasterEvent{Type: &t} }
