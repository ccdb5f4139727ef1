package fsm

import (
	"strings"

	"github.com/mesita/mesita/api"
)

// teller collects what is told of one command. Each event gets what it is about as
// that is once all of the command is done; a row that changed without an event gets one
// of its own, so who follows the events misses nothing whatever a command changes.
type teller struct {
	said    []api.Event
	changes []change
	rows    map[any]struct{}  // rows that an event has
	objects map[told]struct{} // objects that an event is about
}

// change is a row before and after; either may be nil.
type change struct{ old, row any }

// told is what events are of: job, task, node or partition; a task stands for its job.
type told struct{ noun, id string }

// keepTold is the most that is kept of one command for the next.
const keepTold = 4096

func (t *teller) reset() {
	if cap(t.said) > keepTold || cap(t.changes) > keepTold || len(t.rows) > keepTold {
		*t = teller{}
		return
	}
	clear(t.said)
	clear(t.changes)
	clear(t.rows)
	clear(t.objects)
	t.said, t.changes = t.said[:0], t.changes[:0]
}

func (t *teller) note() {
	if t.rows == nil {
		t.rows, t.objects = map[any]struct{}{}, map[told]struct{}{}
	}
	for i := range t.said {
		e := &t.said[i]
		switch noun, _, _ := strings.Cut(string(e.Kind), "."); noun {
		case "task":
			t.rows[e.Task] = struct{}{}
			t.objects[told{noun, e.Job}] = struct{}{}
		case "incident":
			t.rows[e.Payload.Incident] = struct{}{}
		default:
			t.objects[told{noun, e.Object}] = struct{}{}
		}
	}
}

// tellAll emits the events of a command.
func (x *tx) tellAll(emit func(api.Event)) {
	t := x.tell
	if len(t.changes) > 0 {
		t.note()
		for i := 0; i < len(t.changes); i++ {
			x.tellChange(t.changes[i])
		}
	}
	var job *api.Job // most events are of the job that the one before is of
	for i := range t.said {
		e := &t.said[i]
		if e.Job != "" && (job == nil || job.ID != e.Job) {
			job = x.jobAt(e.Job)
		}
		x.load(e, job)
		emit(*e)
	}
	t.reset()
}

// tellChange makes an event of a change that none tells.
func (x *tx) tellChange(c change) {
	switch row := c.row.(type) {
	case *api.Task:
		if row != nil && x.untold(row) && x.taskAt(row.Job, row.Index) == row {
			x.happened(api.Event{Kind: api.EventTaskUpdated, Object: row.ID, Job: row.Job, Node: row.Node, Task: row, Message: "it waits, or goes on, otherwise"})
			x.tell.objects[told{"task", row.Job}] = struct{}{}
		}
	case *api.Incident:
		old := c.old.(*api.Incident)
		switch {
		case row == nil:
			x.happened(api.Event{Kind: api.EventIncidentRemoved, Object: old.Object, Job: old.Job, Node: old.Node, Payload: api.Payload{Incident: old}, Message: "it is long over, or there are too many"})
		case x.untold(row) && x.incidents.get(row) == row:
			x.happened(api.Event{Kind: api.EventIncidentUpdated, Object: row.Object, Job: row.Job, Node: row.Node, Payload: api.Payload{Incident: row}, Message: string(row.Kind) + ": " + row.Action})
		}
	case *nodeRow:
		if row != nil && x.first("node", row.node.ID) {
			x.happened(api.Event{Kind: api.EventNodeUpdated, Object: row.node.ID, Node: row.node.Name, Message: known(x, nodeOf(c.old.(*nodeRow)), row.node)})
		}
	case *api.Partition:
		if row != nil && x.first("partition", row.Path) {
			x.happened(api.Event{Kind: api.EventPartition, Object: row.Path, Message: known(x, c.old.(*api.Partition), row)})
		}
	case *api.Job:
		x.tellJob(c.old.(*api.Job), row)
	}
}

// untold reports whether no event has the row.
func (x *tx) untold(row any) bool {
	_, has := x.tell.rows[row]
	return !has
}

// first reports whether no event is about the object, and that one is from now on.
func (x *tx) first(noun, id string) bool {
	k := told{noun, id}
	_, has := x.tell.objects[k]
	x.tell.objects[k] = struct{}{}
	return !has
}

// tellJob tells a change of a job. What follows from its tasks is told with those.
func (x *tx) tellJob(old, row *api.Job) {
	if row == nil { // another takes its place at once, or it was told
		return
	}
	if _, has := x.tell.objects[told{"task", row.ID}]; has && old != nil && summed(old, row) {
		return
	}
	if x.first("job", row.ID) {
		x.happened(api.Event{Kind: api.EventJobUpdated, Object: row.ID, Job: row.ID, Message: known(x, old, row)})
	}
}

// summed reports whether two rows of a job differ in nothing but their sums.
func summed(a, b *api.Job) bool {
	return a.Revision == b.Revision && a.Version == b.Version && a.Updated.Equal(b.Updated) && len(a.History) == len(b.History) && len(a.Places) == len(b.Places)
}

// load gives an event what it is about, as it is now.
func (x *tx) load(e *api.Event, job *api.Job) {
	p := &e.Payload
	switch noun, _, _ := strings.Cut(string(e.Kind), "."); noun {
	case "job", "task":
		if p.Job == nil {
			p.Job = job
		}
	case "node":
		if r := x.rowAt(e.Object); r != nil {
			p.Node = r.node
		}
	case "partition":
		if p.Partition == nil {
			p.Partition = x.partitions.get(&api.Partition{Path: e.Object})
		}
	case "incident":
		if now := x.incidents.get(p.Incident); now != nil {
			p.Incident = now
		}
		if x.does(ToldChanges) {
			e.Incident = p.Incident.ID
		}
	}
}
