package fsm

import (
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
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

// Job is nil if there is none with that id.
func (v *View) Job(id string) *api.Job { return v.t.jobs.get(&api.Job{ID: id}) }

// Jobs lists all jobs by id.
func (v *View) Jobs() iter.Seq[*api.Job] { return v.t.jobs.all() }

// EndedJobs lists the ended jobs, the oldest end first.
func (v *View) EndedJobs() iter.Seq[*api.Job] {
	return func(yield func(*api.Job) bool) {
		v.t.ended.Ascend(func(k endedKey) bool { return yield(v.Job(k.id)) })
	}
}

// EndedCount is the number of ended jobs.
func (v *View) EndedCount() int { return v.t.ended.Len() }

// Task finds a task by its id, JOB.INDEX.
func (v *View) Task(id string) *api.Task {
	dot := strings.LastIndexByte(id, '.')
	if dot < 0 {
		return nil
	}
	i, err := strconv.Atoi(id[dot+1:])
	if err != nil {
		return nil
	}
	return v.TaskOf(id[:dot], i)
}

// TaskOf finds a task by its job and index.
func (v *View) TaskOf(job string, index int) *api.Task {
	if t := v.t.tasks.get(&api.Task{Job: job, Index: index}); t != nil {
		return t
	}
	if j := v.Job(job); j != nil && (j.Unmade() > 0 || j.NeverMade() > 0 && v.Does(StoppedTasks)) {
		if first, count, err := j.Spec.Indexes(); err == nil && index >= first+j.Made && index < first+count {
			return j.UnmadeTask(index)
		}
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

// TaskCount is the number of tasks that were made.
func (v *View) TaskCount() int { return v.t.tasks.len() }

// JobTasks lists a job's tasks by index.
func (v *View) JobTasks(job string) iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		more := true
		v.t.tasks.rows.AscendGreaterOrEqual(&api.Task{Job: job, Index: -1}, func(t *api.Task) bool {
			if t.Job != job {
				return false
			}
			more = yield(t)
			return more
		})
		if j := v.Job(job); more && j != nil {
			if j.Unmade() > 0 {
				v.unmadeTasks(j, yield)
			}
			v.neverMade(j)(yield)
		}
	}
}

func (v *View) unmadeTasks(j *api.Job, yield func(*api.Task) bool) bool {
	first, count, err := j.Spec.Indexes()
	if err != nil {
		return true
	}
	need := j.Spec.Need()
	for i := first + j.Made; i < first+count; i++ {
		t := j.UnmadeTask(i)
		t.Resources = need
		if !yield(t) {
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

// PendingJobs lists the jobs of a partition that have tasks waiting for a
// node, in the order of submission.
func (v *View) PendingJobs(partition string) iter.Seq[*api.Job] {
	return func(yield func(*api.Job) bool) {
		from := pendingKey{partition: partition}
		for {
			var next *pendingKey
			v.t.pending.AscendGreaterOrEqual(from, func(k pendingKey) bool { next = &k; return false })
			if next == nil || next.partition != partition || !yield(v.Job(next.job)) {
				return
			}
			from = *next
			from.index = math.MaxInt
		}
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

// Usage is what the tasks of a partition hold, those of its children not
// counted.
func (v *View) Usage(path string) api.PartitionUsage {
	if r := get(v.t.usage.BTreeG, &usageRow{path: path}); r != nil {
		return r.PartitionUsage
	}
	return api.PartitionUsage{}
}

// Capacity is what the nodes that may run work have, without port numbers.
func (v *View) Capacity() api.Resources { return v.t.capacity }

// FrozenTasks lists the tasks that are stopped in place, or told to be.
func (v *View) FrozenTasks() iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		v.t.frozen.Ascend(func(k taskKey) bool { return yield(v.t.tasks.get(&api.Task{Job: k.job, Index: k.index})) })
	}
}

// FrozenCount is the number of those.
func (v *View) FrozenCount() int { return v.t.frozen.Len() }

// Room is a node with what is left of it, for one read instead of two.
func (v *View) Room(nodeID string) (n *api.Node, free, reclaiming api.Resources) {
	r := v.row(nodeID)
	if r == nil {
		return nil, api.Resources{}, api.Resources{}
	}
	return r.node, r.free(), r.reclaiming
}

// Node finds a node by its id.
func (v *View) Node(id string) *api.Node {
	if r := v.row(id); r != nil {
		return r.node
	}
	return nil
}

func (v *View) row(id string) *nodeRow { return v.t.nodes.get(&nodeRow{node: &api.Node{ID: id}}) }

// FindNode finds a node that is not gone by its id, its name, or the unique
// beginning of its id.
func (v *View) FindNode(ref string) *api.Node {
	if n := v.Node(ref); n != nil && n.State != api.NodeGone {
		return n
	}
	var found *api.Node
	matches := 0
	for n := range v.Nodes() {
		if n.State == api.NodeGone {
			continue
		}
		if n.Name == ref {
			return n
		}
		if ref != "" && strings.HasPrefix(n.ID, ref) {
			found, matches = n, matches+1
		}
	}
	if matches == 1 {
		return found
	}
	return nil
}

// Nodes lists all nodes by id, also those that are gone.
func (v *View) Nodes() iter.Seq[*api.Node] {
	return func(yield func(*api.Node) bool) {
		v.t.nodes.rows.Ascend(func(r *nodeRow) bool { return yield(r.node) })
	}
}

// Ledger is where each unit of a node's resources is, and how many tasks hold
// some.
func (v *View) Ledger(nodeID string) (l api.Ledger, tasks int) {
	r := v.row(nodeID)
	if r == nil {
		return l, 0
	}
	return api.Ledger{Free: r.free(), Offered: r.offered, Allocated: r.allocated, Reclaiming: r.reclaiming}, r.tasks
}

// Free is what no task and no offer holds of a node.
func (v *View) Free(nodeID string) api.Resources {
	if r := v.row(nodeID); r != nil {
		return r.free()
	}
	return api.Resources{}
}

func (r *nodeRow) free() api.Resources {
	return r.node.Resources.Minus(r.allocated).Minus(r.reclaiming).Minus(r.offered)
}

// Partition is nil if there is none with that path.
func (v *View) Partition(path string) *api.Partition {
	return v.t.partitions.get(&api.Partition{Path: path})
}

// Eligible is a partition with all conditions that its nodes must meet: those
// of the partitions above it hold for it too. It is nil if there is none.
func (v *View) Eligible(path string) *api.Partition { return v.t.eligible(path) }

func (t *tables) eligible(path string) *api.Partition {
	at := func(path string) *api.Partition { return t.partitions.get(&api.Partition{Path: path}) }
	p := at(path)
	if p == nil {
		return nil
	}
	for up := at(p.Parent()); up != nil; up = at(up.Parent()) {
		if len(up.Nodes) > 0 {
			all := *p
			all.Nodes = append(slices.Clone(up.Nodes), p.Nodes...)
			p = &all
		}
	}
	return p
}

// Partitions lists all partitions by path.
func (v *View) Partitions() iter.Seq[*api.Partition] { return v.t.partitions.all() }

// Offers lists all offers by id.
func (v *View) Offers() iter.Seq[*api.Offer] { return v.t.offers.all() }

// Token is nil if there is none with that id.
func (v *View) Token(id string) *api.Token { return v.t.tokens.get(&api.Token{ID: id}) }

// Tokens lists all tokens by id.
func (v *View) Tokens() iter.Seq[*api.Token] { return v.t.tokens.all() }

// Blob is nil if there is none with that digest.
func (v *View) Blob(digest string) *api.Blob { return v.t.blobs.get(&api.Blob{Digest: digest}) }

// Blobs lists all uploaded programs by digest.
func (v *View) Blobs() iter.Seq[*api.Blob] { return v.t.blobs.all() }

// Assignments is what a node should run or stop: its tasks with the version of
// the spec that each runs.
func (v *View) Assignments(nodeID string) []api.Assignment {
	var out []api.Assignment
	var job *api.Job
	for t := range v.NodeTasks(nodeID) {
		if job == nil || job.ID != t.Job {
			job = v.Job(t.Job)
		}
		if spec := job.SpecOf(t.Version); spec != nil {
			out = append(out, api.Assignment{Task: t, Spec: spec})
		}
	}
	return out
}

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
	x := &tx{tables: &t, Meta: c.meta(), emit: func(api.Event) {}, touch: func(Table, string) {}}
	value, err := c.apply(x)
	return Trial{View: &View{t: t, remedy: v.remedy}, Value: value, Err: err}
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

// LiveJobs lists the jobs that have not ended.
func (v *View) LiveJobs() iter.Seq[*api.Job] {
	return func(yield func(*api.Job) bool) {
		v.t.jobs.rows.Ascend(func(j *api.Job) bool { return j.State.Ended() || yield(j) })
	}
}
