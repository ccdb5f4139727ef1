package fsm

import (
	"fmt"
	"math"
	"time"

	"github.com/mesita/mesita/api"
)

// This file keeps the indexes and the sums in step that follow from the rows of
// tables.

func (x *tx) putTask(t *api.Task) {
	if t.Framework != nil {
		x.noteNews(x.taskAt(t.Job, t.Index), t)
		if t.State.Final() && t.Framework.Info != nil { // nobody runs it any more
			task := *t.Framework
			task.Info = nil
			t.Framework = &task
		}
	}
	x.countTask(x.tasks.put(x, t), t)
}

// putMade stores the first placement of a task that was only counted so far,
// and counts it in its job's copy.
func (x *tx) putMade(t *api.Task, j *api.Job) {
	x.tasks.put(x, t)
	j.Made++
	x.skip(j)
	j.Counts.Pending--
	*x.bucket(&j.Counts, t)++
}

// skip has the next task to make of a batch be one that was not stopped before.
func (x *tx) skip(j *api.Job) {
	if j.Skipped == 0 {
		return
	}
	first, _, _ := j.Spec.Indexes()
	for j.Skipped > 0 && x.taskAt(j.ID, first+j.Made) != nil {
		j.Made, j.Skipped = j.Made+1, j.Skipped-1
	}
}

func (x *tx) deleteTask(t *api.Task) {
	if old := x.tasks.delete(x, t); old != nil {
		x.countTask(old, nil)
	}
}

// indexTask moves the indexes and the node's sums from old to t; either may be
// nil.
func (x *tx) indexTask(old, t *api.Task) {
	x.indexFrameworkTask(old, t)
	if t != nil {
		x.taskUnwanted(t.ID, t.Job, t)
	} else {
		x.taskUnwanted(old.ID, old.Job, nil)
	}
	if old != nil && old.Pending() && (t == nil || !t.Pending()) {
		x.pending.Delete(x.pendingKey(old))
	}
	if t != nil && t.Pending() && (old == nil || !old.Pending()) {
		x.pending.ReplaceOrInsert(x.pendingKey(t))
	}
	holdSame := old != nil && t != nil && old.Holds() && t.Holds() && old.NodeID == t.NodeID && old.Desired == t.Desired && old.Attempt == t.Attempt && old.Frozen == t.Frozen
	if old != nil && old.Holds() && (t == nil || !t.Holds() || t.NodeID != old.NodeID) {
		x.nodeTasks.Delete(old)
	}
	if t != nil && t.Holds() {
		x.nodeTasks.ReplaceOrInsert(t)
	}
	if !holdSame {
		if old != nil && old.Holds() {
			x.hold(old, -1)
		}
		if t != nil && t.Holds() {
			x.hold(t, 1)
		}
	}
	for _, v := range []*api.Task{old, t} {
		if v != nil && v.NodeID != "" {
			x.touch(TableNodeTasks, v.NodeID)
		}
	}
}

func (x *tx) pendingKey(t *api.Task) pendingKey {
	var seq uint64
	if j := x.jobAt(t.Job); j != nil {
		seq = j.Seq
	}
	return pendingKey{t.Partition, seq, taskKey{t.Job, t.Index}}
}

// hold adds a task to the sums of its node and its partition, or takes it out.
func (x *tx) hold(t *api.Task, sign int) {
	op := api.Resources.Add
	if sign < 0 {
		op = api.Resources.Minus
	}
	x.holdUsage(t, sign, op)
	row := x.ownRow(t.NodeID)
	if row == nil {
		return
	}
	row.tasks += sign
	switch {
	case t.Desired == api.DesiredRun || t.Frozen && t.Desired == api.DesiredFreeze:
		row.allocated = op(row.allocated, t.Held())
	case t.Desired == api.DesiredFreeze: // only the cpus come back
		kept := t.Held()
		cpus := kept.CPUs
		kept.CPUs = 0
		row.allocated = op(row.allocated, kept)
		row.reclaiming = op(row.reclaiming, api.Resources{CPUs: cpus})
	default:
		row.reclaiming = op(row.reclaiming, t.Held())
	}
	x.touch(TableRooms, t.NodeID)
}

// holdUsage keeps the sums of a task's partition in step.
func (x *tx) holdUsage(t *api.Task, sign int, op func(a, b api.Resources) api.Resources) {
	held := charged(t.Held())
	x.changeUsage(t.Partition, func(u *api.PartitionUsage) {
		u.Allocated = op(u.Allocated, held)
		if t.Frozen {
			u.Frozen += sign
		}
	})
	if t.Framework != nil {
		x.useReserved(t, op)
		part := charged(api.ReservedSum(t.Framework.Reserved))
		x.useOfFramework(t.Framework.Framework, t.Partition, func(u *api.PartitionUsage) {
			u.Allocated, u.Reserved = op(u.Allocated, held.Add(part)), op(u.Reserved, part)
		})
	}
	if t.Frozen || t.Desired == api.DesiredFreeze {
		setRow(&x.frozen, t, sign)
	}
	if t.Leaving() {
		setRow(&x.leaving, t, sign)
	}
}

// charged is what of resources on a node counts to a partition.
func charged(r api.Resources) api.Resources {
	r.Ports = nil             // the same numbers on several nodes do not add up
	r.MemExtra, r.Pins = 0, 0 // partitions share what is guaranteed, and pinned CPUs are among its CPUs
	return r
}

func setRow(i *index[*api.Task], t *api.Task, sign int) {
	if sign > 0 {
		i.ReplaceOrInsert(t)
	} else {
		i.Delete(t)
	}
}

func (x *tx) changeUsage(path string, change func(*api.PartitionUsage)) {
	change(&x.ownUsage(path).PartitionUsage)
}

// countTask keeps the job's counts and state in step.
func (x *tx) countTask(old, t *api.Task) {
	id := ""
	if t != nil {
		id = t.Job
	} else {
		id = old.Job
	}
	prev := x.jobAt(id)
	if prev == nil {
		return
	}
	if old != nil && t != nil && x.bucket(&prev.Counts, old) == x.bucket(&prev.Counts, t) {
		return
	}
	j := *prev
	if old != nil {
		*x.bucket(&j.Counts, old)--
	}
	if t != nil {
		b := x.bucket(&j.Counts, t)
		*b++
		if b == &j.Counts.Failed && (j.ExitCode == nil || *j.ExitCode == 0) {
			j.ExitCode = failureCode(t)
		}
	}
	x.replaceJob(&j)
}

func (tb *tables) bucket(c *api.JobCounts, t *api.Task) *int {
	switch {
	case t.Pending():
		return &c.Pending
	case t.State == api.TaskRunning || t.State == api.TaskKilling:
		return &c.Running
	case t.State == api.TaskFinished:
		return &c.Finished
	case t.State.Final() && stopped(t) && tb.does(StoppedTasks):
		return &c.Stopped
	case t.State.Final():
		return &c.Failed
	}
	return &c.Starting
}

// failureCode is the exit code a failed task gives its job: its own, or 1 when
// it never had one.
func failureCode(t *api.Task) *int {
	if t.ExitCode != nil && *t.ExitCode != 0 {
		return t.ExitCode
	}
	one := 1
	return &one
}

// replaceJob stores a job, whose state follows from its counts.
func (x *tx) replaceJob(j *api.Job) {
	j.State = jobState(j)
	switch ended := j.State.Ended(); {
	case !ended:
		j.Ended = time.Time{}
	case j.Ended.IsZero():
		j.Ended = x.At
		if j.ExitCode == nil && j.State == api.JobFinished {
			j.ExitCode = new(int)
		}
		x.happened(api.Event{Kind: api.EventJobEnded, Object: j.ID, Job: j.ID, Message: x.ends(j)})
	}
	x.jobs.put(x, j)
}

// ends says how many tasks of a job ended how.
func (x *tx) ends(j *api.Job) string {
	s := fmt.Sprintf("%s: %s finished, %d failed", j.State, x.count(j.Counts.Finished, "task"), j.Counts.Failed)
	if j.Counts.Stopped > 0 {
		s += fmt.Sprintf(", %d stopped", j.Counts.Stopped)
	}
	return s
}

func jobState(j *api.Job) api.JobState {
	c := j.Counts
	switch {
	case j.Stop && c.Live() > 0:
		return api.JobStopping
	case j.Spec.Kind == api.KindBatch && c.Live() == 0 && j.Unmade() == 0:
		if j.Stop && c.Finished < j.Spec.Tasks() {
			return api.JobStopped
		}
		if c.Failed > 0 {
			return api.JobFailed
		}
		if c.Stopped > 0 {
			return api.JobStopped
		}
		return api.JobFinished
	case j.Stop:
		return api.JobStopped
	case j.Spec.Kind == api.KindService && c.Failed+c.Stopped > 0 && c.Live() == 0 && j.Spec.Tasks() > 0 && c.Total() >= j.Spec.Tasks():
		if c.Failed == 0 {
			return api.JobStopped
		}
		return api.JobFailed
	case c.Running > 0:
		return api.JobRunning
	case j.State == api.JobRunning && c.Live() > 0 && j.Spec.Kind == api.KindBatch:
		return api.JobRunning
	}
	return api.JobPending
}

// indexJob keeps the lookups by request and by end, and the sums of the
// partition and the user, in step.
func (x *tx) indexJob(old, j *api.Job) {
	x.indexUnmade(old, j)
	x.indexOwner(old, j)
	x.indexPrograms(old, j)
	x.sumJob(old, -1)
	x.sumJob(j, 1)
	if old != nil && old.Request != "" && (j == nil || j.Request != old.Request) {
		x.requests.Delete(old)
	}
	if old != nil && !old.Ended.IsZero() {
		x.ended.Delete(old)
	}
	if old != nil && old.Framework != "" {
		x.jobsOfFrameworks.Delete(old)
	}
	if j == nil {
		return
	}
	if j.Request != "" {
		x.requests.ReplaceOrInsert(j)
	}
	if !j.Ended.IsZero() {
		x.ended.ReplaceOrInsert(j)
	}
	if j.Framework != "" {
		x.jobsOfFrameworks.ReplaceOrInsert(j)
	}
}

// unmade is the index of a pendingKey that stands for all tasks of a batch
// that were not made yet: they have no row before they are placed.
const unmade = math.MaxInt - 1

func (x *tx) indexUnmade(old, j *api.Job) {
	had, has := old != nil && old.Unmade() > 0, j != nil && j.Unmade() > 0
	moved := had && has && old.Spec.Partition != j.Spec.Partition
	if had && (!has || moved) {
		x.pending.Delete(pendingKey{old.Spec.Partition, old.Seq, taskKey{old.ID, unmade}})
	}
	if has && (!had || moved) {
		x.pending.ReplaceOrInsert(pendingKey{j.Spec.Partition, j.Seq, taskKey{j.ID, unmade}})
	}
}

func (x *tx) sumJob(j *api.Job, sign int) {
	if j == nil || j.Counts.Live() == 0 {
		return
	}
	x.changeUsage(j.Spec.Partition, func(u *api.PartitionUsage) {
		n := int64(sign * j.Counts.Pending)
		u.Pending += int(n)
		if j.Hold {
			u.Held += int(n)
			n = 0 // it wants nothing now
		}
		r := &j.Spec.Request
		u.Wanted.CPUs += api.MilliCPU(n) * r.CPUs
		u.Wanted.Mem += api.Bytes(n) * r.Mem
		u.Wanted.Disk += api.Bytes(n) * r.Disk
		u.Wanted.GPUs += n * r.GPUs
		u.Starting += sign * j.Counts.Starting
		u.Running += sign * j.Counts.Running
	})
}

// putNode stores a node, keeping its sums.
func (x *tx) putNode(n *api.Node) {
	row := nodeRow{}
	if old := x.nodes.get(&nodeRow{node: n}); old != nil {
		row = *old
	}
	row.node = n
	x.nodes.put(x, &row)
}

func (x *tx) sumCapacity(old, row *nodeRow) {
	if old != nil {
		x.capacity = x.capacity.Minus(capacityOf(old.node))
	}
	if row != nil {
		x.capacity = x.capacity.Add(capacityOf(row.node))
	}
}

// capacityOf is what a node adds to the cluster's capacity.
func capacityOf(n *api.Node) api.Resources {
	if n.State == api.NodeGone || n.VoterOnly {
		return api.Resources{}
	}
	r := n.Resources
	r.Ports = nil
	return r
}

func (x *tx) indexIncident(old, n *api.Incident) {
	if n != nil {
		x.newest.ReplaceOrInsert(n)
	} else if last := get(x.newest.BTreeG, old); last != nil && last.ID == old.ID {
		x.newest.Delete(last)
	}
}

func (x *tx) job(id string) (*api.Job, error) {
	if j := x.jobAt(id); j != nil {
		return j, nil
	}
	return nil, api.NotFound("job", id)
}

func (x *tx) node(id string) (*api.Node, error) {
	if r := x.rowAt(id); r != nil {
		return r.node, nil
	}
	return nil, api.NotFound("node", id)
}

// jobTasks copies the list of a job's tasks, so that the caller may change
// them.
func (x *tx) jobTasks(job string) []*api.Task {
	var out []*api.Task
	for t := range x.tasks.from(&api.Task{Job: job, Index: -1}) {
		if t.Job != job {
			break
		}
		out = append(out, t)
	}
	return out
}

func (x *tx) nodeTaskList(nodeID string) []*api.Task {
	var out []*api.Task
	x.nodeTasks.AscendGreaterOrEqual(&api.Task{NodeID: nodeID}, func(t *api.Task) bool {
		if t.NodeID != nodeID {
			return false
		}
		out = append(out, t)
		return true
	})
	return out
}
