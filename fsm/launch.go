package fsm

import (
	"fmt"
	"slices"

	"github.com/mesita/mesita/api"
)

// launcher starts tasks of a framework in the room of offers of one node that it took.
type launcher struct {
	*tx
	framework *api.Framework
	offer     *api.Offer      // one of them
	ground    *ground         // what is left of the offers
	begun     map[string]bool // executors, by their ids
}

// convert does the conversions from one on that are to be done before a task, and returns
// which is the next.
func (l *launcher) convert(all []Conversion, from, before int, refused []string) int {
	for ; from < len(all) && all[from].Before <= before; from++ {
		row := l.rowAt(l.offer.NodeID)
		if row == nil || !row.node.Schedulable() {
			refused[from] = "the node takes no work now"
			continue
		}
		if from >= api.MaxConversions {
			refused[from] = fmt.Sprintf("a call changes what is reserved %d times at most: do the rest in another one", api.MaxConversions)
			continue
		}
		l.ground.node = row.node
		most := l.ground.room
		next, err := l.ground.try(all[from].Steps)
		switch {
		case err != nil:
			refused[from] = cutWords(err)
		case !row.room().Fits(most.Minus(next.room)):
			refused[from] = "it asks for more than was offered and is free still"
		case slices.ContainsFunc(all[from].Steps, func(s ReservationStep) bool { return s.Partition != l.offer.Partition }):
			refused[from] = "it is of another role than the offers, which is " + l.offer.Partition
		default:
			next.commit()
		}
	}
	return from
}

func (l *FrameworkLaunch) group() string {
	if l.Task == nil {
		return ""
	}
	return l.Task.Group
}

// refusal is why a task is not started.
type refusal struct {
	why    string
	ending bool // its executor is about to end
}

// wanted is what is to be started, as far as it was looked at.
type wanted struct {
	ids       map[string]bool
	need      api.Resources                 // that is not reserved
	reserved  map[string]api.Resources      // that is, by reservation
	rows      int                           // tasks, and executors
	executors map[string]*FrameworkExecutor // that are not there yet
}

// together starts tasks, all of them or none.
func (l *launcher) together(tasks []FrameworkLaunch, ids, refused []string, ending []bool) {
	w := &wanted{ids: map[string]bool{}, reserved: map[string]api.Resources{}, executors: map[string]*FrameworkExecutor{}}
	for i := range tasks {
		no := l.look(&tasks[i], w)
		if no.why == "" && i == len(tasks)-1 {
			no = l.lookAtJob(w)
		}
		if no.why == "" {
			continue
		}
		if len(tasks) > 1 && tasks[i].Task != nil {
			no.why = "Task '" + tasks[i].Task.ID + "' is invalid: " + no.why
		}
		for k := range tasks {
			refused[k], ending[k] = no.why, no.ending
		}
		return
	}
	l.ground.room = l.ground.room.Minus(w.need)
	for id, r := range w.reserved {
		l.ground.free[id] = l.ground.free[id].Minus(r)
	}
	group := ""
	for i := range tasks {
		t := &tasks[i]
		l.begin(t, w)
		made := l.start(t.Task, t.Resources, t.Ports, group)
		if group == "" {
			group = made.ID
		}
		ids[i] = made.ID
	}
}

// look says why a task cannot start beside those that were looked at, and adds it to them
// if it can.
func (l *launcher) look(t *FrameworkLaunch, w *wanted) refusal {
	if t.Task == nil || t.Task.Spec == nil {
		return refusal{why: "it does not say what to run"}
	}
	switch old := l.frameworkTask(l.framework.ID, t.Task.ID); {
	case old != nil && old.State == api.TaskUnreachable:
		return refusal{why: "Task reuses the ID of an unreachable task: " + t.Task.ID}
	case old != nil && !old.State.Final(), w.ids[t.Task.ID]:
		return refusal{why: "Task has duplicate ID: " + t.Task.ID}
	}
	w.ids[t.Task.ID] = true
	row := l.rowAt(l.offer.NodeID)
	if row == nil || !row.node.Schedulable() {
		return refusal{why: "the node takes no work now"}
	}
	fits := l.needs(w, t.Resources, t.Task.Reserved)
	w.rows++
	begin := len(w.executors)
	if no := l.lookAtExecutor(t, w); no.why != "" {
		return no
	}
	if len(w.executors) > begin {
		fits = l.needs(w, t.Executor.charged(t), t.Executor.Task.Reserved) && fits
		w.rows++
	}
	fits = fits && l.ground.room.Fits(w.need) && (len(w.reserved) > 0 && w.need.Equal(api.Resources{}) || row.room().Fits(w.need))
	switch {
	case !fits && t.Executor != nil:
		return refusal{why: "Total resources required by task and its executor is more than available"}
	case !fits:
		return refusal{why: "it asks for more than was offered and is free still"}
	}
	if !l.hasVolumes(t.Task.Spec, t.Task.Reserved) || len(w.executors) > begin && !l.hasVolumes(t.Executor.Task.Spec, t.Executor.Task.Reserved) {
		return refusal{why: "it uses a part of a volume, or one that it does not take: volumes are used as they were offered"}
	}
	if no := l.follows(row.node, t.Task.Spec); no != "" {
		return refusal{why: no}
	}
	if t.Executor != nil {
		return refusal{why: l.follows(row.node, t.Executor.Task.Spec)}
	}
	return refusal{}
}

// needs adds what a task or an executor needs, and reports whether that is left of the
// reservations that it names.
func (l *launcher) needs(w *wanted, r api.Resources, parts []api.Reserved) bool {
	plain, fits := r, true
	for i := range parts {
		p := &parts[i]
		row := l.reservation(l.offer.NodeID, p.Reservation)
		fits = fits && row != nil && p.Resources.Validate() == nil && plain.Fits(p.Resources)
		plain = plain.Minus(p.Resources)
		w.reserved[p.Reservation] = w.reserved[p.Reservation].Add(p.Resources)
		fits = fits && l.ground.free[p.Reservation].Fits(w.reserved[p.Reservation])
	}
	w.need = w.need.Add(plain)
	return fits
}

// follows says which rule of the node or the partition a spec breaks, "" if none.
func (l *launcher) follows(n *api.Node, spec *api.JobSpec) string {
	part := l.eligible(l.offer.Partition)
	if part == nil || part.Drain {
		return "partition " + l.offer.Partition + " is being removed, and takes no new work"
	}
	if unmet := n.Unmet(part, spec); unmet != "" {
		return "the node " + unmet
	}
	if err := spec.Within(l.chain(l.offer.Partition), nil); err != nil {
		return err.Error()
	}
	if Level(n.Level) < l.level && Level(n.Level) < SpecLevel(spec) {
		return "the node runs an older mesita that does not know what it asks for"
	}
	return ""
}

// lookAtJob says why the partition takes none of what is to be started.
func (l *launcher) lookAtJob(w *wanted) refusal {
	j := l.frameworkJob(l.framework, l.offer.Partition)
	if j.Counts.Finished+j.Counts.Failed+j.Counts.Stopped >= api.MaxFrameworkUnknown {
		return refusal{why: "too many tasks have ended that the framework has not acknowledged"}
	}
	if api.Bytes(l.newsBytes(l.framework.ID)) > api.MaxFrameworkNews {
		return refusal{why: "more than " + api.MaxFrameworkNews.String() + " of what became of tasks wait to be acknowledged by the framework, and until it does no more start"}
	}
	if !l.mayRun(j, w.rows) {
		return refusal{why: "as many tasks of partition " + l.offer.Partition + " run as may at once"}
	}
	return refusal{}
}

// start makes the row of a task or an executor that was looked at.
func (l *launcher) start(of *api.FrameworkTask, r api.Resources, ports map[string]int, group string) *api.Task {
	n := l.rowAt(l.offer.NodeID).node
	j := l.frameworkJob(l.framework, l.offer.Partition)
	task, spec := *of, *of.Spec
	spec.Kind, spec.Partition, spec.AtMostOnce = api.KindFramework, l.offer.Partition, true
	spec.Volumes = l.folders(spec.Volumes)
	task.Framework, task.Spec = l.framework.ID, &spec
	t := &api.Task{ID: api.TaskID(j.ID, j.Made), Job: j.ID, Index: j.Made, Version: j.Version, Partition: l.offer.Partition, Attempt: 1,
		Resources: r, Ports: ports, Created: l.At, Framework: &task, Node: n.Name, NodeID: n.ID}
	if task.Group != "" {
		if task.Group = group; group == "" {
			task.Group = t.ID
		}
	}
	next := *j
	next.Made++
	l.replaceJob(&next)
	l.placing.tally.Add(&next, 1)
	l.happened(api.Event{Kind: api.EventTaskPlaced, Object: t.ID, Job: t.Job, Node: t.Node, Task: t})
	l.putTask(t)
	return t
}
