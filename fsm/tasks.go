package fsm

import (
	"iter"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
)

// Task finds a task by its id, JOB.INDEX.
func (v *View) Task(id string) *api.Task {
	dot := strings.LastIndexByte(id, '.')
	if dot < 0 {
		return nil
	}
	i, err := strconv.Atoi(id[dot+1:])
	if err != nil || api.TaskID(id[:dot], i) != id { // as 57.007, whose events and logs are nowhere
		return nil
	}
	return v.TaskOf(id[:dot], i)
}

// TaskOf finds a task by its job and index.
func (v *View) TaskOf(job string, index int) *api.Task {
	if t := v.t.tasks.get(&api.Task{Job: job, Index: index}); t != nil {
		return t
	}
	if u := v.unmadeOf(v.Job(job)); index >= u.next && index < u.end {
		return u.job.UnmadeTask(index)
	}
	return nil
}

// Tasks lists all tasks by job and index, those of arrays that wait to be made
// too.
func (v *View) Tasks() iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		more := true
		v.t.jobs.rows.Ascend(func(j *api.Job) bool {
			for t := range v.JobTasks(j.ID) {
				if more = yield(t); !more {
					break
				}
			}
			return more
		})
	}
}

// TaskRun is tasks of one job with indexes that follow each other: one that has a
// row, or any number of those that have none, which differ in their index alone.
type TaskRun struct {
	Row   *api.Task // nil: none has one
	Index int       // of the first
	N     int
}

// At is the one at that place of the run. One without a row is made up.
func (r *TaskRun) At(j *api.Job, i int) *api.Task {
	if r.Row != nil {
		return r.Row
	}
	return j.UnmadeTask(r.Index + i)
}

var (
	waits      = &api.Task{}
	neverBegan = &api.Task{State: api.TaskKilled, Desired: api.DesiredStop}
)

// Like is a task in the state of each of the run, so that nothing need be made up
// of those that are passed over: all else of it may be another's.
func (r *TaskRun) Like(j *api.Job) *api.Task {
	switch {
	case r.Row != nil:
		return r.Row
	case j.Stop:
		return neverBegan
	}
	return waits
}

// TaskRuns lists all tasks as Tasks does, from a job and an index on, without
// making up each of those of an array that waits.
func (v *View) TaskRuns(job string, index int) iter.Seq2[*api.Job, TaskRun] {
	return func(yield func(*api.Job, TaskRun) bool) {
		v.t.jobs.rows.AscendGreaterOrEqual(&api.Job{ID: job}, func(j *api.Job) bool {
			from := 0
			if j.ID == job {
				from = index
			}
			return v.jobRuns(j, from, yield)
		})
	}
}

// JobRuns is TaskRuns of one job.
func (v *View) JobRuns(j *api.Job, index int) iter.Seq2[*api.Job, TaskRun] {
	return func(yield func(*api.Job, TaskRun) bool) { v.jobRuns(j, index, yield) }
}

func (v *View) jobRuns(j *api.Job, from int, yield func(*api.Job, TaskRun) bool) bool {
	u, more := v.unmadeOf(j), true
	u.next = max(u.next, from)
	if j.Spec.Kind != api.KindBatch || j.Made > 0 || j.Skipped > 0 { // else none has a row
		v.t.tasks.rows.AscendGreaterOrEqual(&api.Task{Job: j.ID, Index: from}, func(t *api.Task) bool {
			if t.Job != j.ID {
				return false
			}
			more = u.run(t.Index, yield) && yield(j, TaskRun{t, t.Index, 1})
			u.next = max(u.next, t.Index+1)
			return more
		})
	}
	return more && u.run(u.end, yield)
}

// run yields those up to before an index, at once.
func (u *unmadeRange) run(index int, yield func(*api.Job, TaskRun) bool) bool {
	n := min(index, u.end) - u.next
	if n <= 0 {
		return true
	}
	first := u.next
	u.next += n
	return yield(u.job, TaskRun{nil, first, n})
}

// TaskCount is the number of tasks that were made.
func (v *View) TaskCount() int { return v.t.tasks.len() }

// JobTasks lists a job's tasks by index, made or not.
func (v *View) JobTasks(job string) iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		u := v.unmadeOf(v.Job(job))
		if v.between(job, -1, u, yield, yield) {
			u.until(u.end, yield)
		}
	}
}

// unmadeTasks lists the tasks of a batch that have no row, by index.
func (v *View) unmadeTasks(j *api.Job, yield func(*api.Task) bool) bool {
	u := v.unmadeOf(j)
	if j.Skipped > 0 && !v.between(j.ID, u.next, u, yield, func(*api.Task) bool { return true }) {
		return false
	}
	return u.until(u.end, yield)
}

// between goes through the rows of a job from an index on, and the unmade tasks
// before and among them.
func (v *View) between(job string, from int, u *unmadeRange, unmade, made func(*api.Task) bool) bool {
	more := true
	v.t.tasks.rows.AscendGreaterOrEqual(&api.Task{Job: job, Index: from}, func(t *api.Task) bool {
		if t.Job != job {
			return false
		}
		more = u.until(t.Index, unmade) && made(t)
		u.next = max(u.next, t.Index+1)
		return more
	})
	return more
}

// unmadeRange is where the tasks of a batch are that have no row.
type unmadeRange struct {
	job       *api.Job
	next, end int
}

// unmadeOf is that of a job: they wait, or were stopped with it.
func (v *View) unmadeOf(j *api.Job) *unmadeRange {
	if j == nil || j.Unmade() == 0 && (j.NeverMade() == 0 || !v.Does(StoppedTasks)) {
		return &unmadeRange{}
	}
	return rangeOf(j)
}

func rangeOf(j *api.Job) *unmadeRange {
	first, count, err := j.Spec.Indexes()
	if err != nil {
		return &unmadeRange{}
	}
	return &unmadeRange{j, first + j.Made, first + count}
}

// until yields those up to before an index.
func (u *unmadeRange) until(index int, yield func(*api.Task) bool) bool {
	for ; u.next < min(index, u.end); u.next++ {
		if !yield(u.job.UnmadeTask(u.next)) {
			return false
		}
	}
	return true
}

// NodeTasks lists the tasks that hold resources of a node.
func (v *View) NodeTasks(nodeID string) iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		v.t.nodeTasks.AscendGreaterOrEqual(&api.Task{NodeID: nodeID}, func(t *api.Task) bool { return t.NodeID == nodeID && yield(t) })
	}
}

// PendingTasks lists the tasks of a job that wait for a node, by index.
func (v *View) PendingTasks(j *api.Job) iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		from := pendingKey{j.Spec.Partition, j.Seq, taskKey{j.ID, -1}}
		v.t.pending.AscendGreaterOrEqual(from, func(k pendingKey) bool {
			switch {
			case k.job != j.ID || k.seq != j.Seq:
				return false
			case k.index == unmade:
				return v.unmadeTasks(j, yield)
			}
			return yield(v.t.tasks.get(&api.Task{Job: k.job, Index: k.index}))
		})
	}
}

// PendingCount is the number of tasks that wait for a node.
func (v *View) PendingCount() int {
	n := 0
	v.t.usage.Ascend(func(r *usageRow) bool { n += r.Pending; return true })
	return n
}

// FrozenTasks lists the tasks that are stopped in place, or told to be.
func (v *View) FrozenTasks() iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		v.t.frozen.Ascend(func(t *api.Task) bool { return yield(v.t.tasks.get(t)) })
	}
}

// FrozenCount is the number of those.
func (v *View) FrozenCount() int { return v.t.frozen.Len() }

// LeavingTasks lists the tasks that were told that they will have to end.
func (v *View) LeavingTasks() iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		v.t.leaving.Ascend(func(t *api.Task) bool { return yield(v.t.tasks.get(t)) })
	}
}

// LeavingCount is the number of those.
func (v *View) LeavingCount() int { return v.t.leaving.Len() }

// Assignments is what a node should run or stop: its tasks with the version of
// the spec that each runs.
func (v *View) Assignments(nodeID string) []api.Assignment {
	var out []api.Assignment
	var job *api.Job
	for t := range v.NodeTasks(nodeID) {
		if job == nil || job.ID != t.Job {
			job = v.Job(t.Job)
		}
		if spec := job.SpecFor(t); spec != nil {
			a := api.Assigned(forNode(t), spec)
			a.Submission = job.Seq
			out = append(out, a)
		}
	}
	return out
}

// forNode is a task as its node is told of it: with no second copy of its spec, and of what
// its framework sent with what an executor is handed.
func forNode(t *api.Task) *api.Task {
	if t.Framework == nil {
		return t
	}
	told, task := *t, *t.Framework
	task.Spec, task.Last, task.Digest = nil, nil, nil
	if task.Executor == "" {
		task.Info = nil
	}
	told.Framework = &task
	return &told
}

// Made reports whether a task of a job has a row.
func (v *View) Made(job string, index int) bool {
	return v.t.tasks.get(&api.Task{Job: job, Index: index}) != nil
}

// MadeTasks lists a job's tasks that were made, by index.
func (v *View) MadeTasks(job string) iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		v.t.tasks.rows.AscendGreaterOrEqual(&api.Task{Job: job, Index: -1}, func(t *api.Task) bool { return t.Job == job && yield(t) })
	}
}

// PendingMade lists the tasks of a job that wait for a node and have a row of
// their own, by index; beside them a batch has its unmade ones.
func (v *View) PendingMade(j *api.Job) iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		v.t.pending.AscendGreaterOrEqual(pendingKey{j.Spec.Partition, j.Seq, taskKey{j.ID, -1}}, func(k pendingKey) bool {
			return k.job == j.ID && k.seq == j.Seq && k.index != unmade && yield(v.t.tasks.get(&api.Task{Job: k.job, Index: k.index}))
		})
	}
}
