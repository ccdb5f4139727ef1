package fsm

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"

	"github.com/mesita/mesita/api"
)

var jobNoun = noun[api.Job]{
	less:     func(a, b *api.Job) bool { return a.ID < b.ID },
	watch:    TableJobs,
	id:       func(j *api.Job) string { return j.ID },
	revision: func(j *api.Job) *uint64 { return &j.Revision },
	same: func(a, b *api.Job) bool {
		return a.Spec == b.Spec && a.Stop == b.Stop && a.Hold == b.Hold && a.Created.Equal(b.Created)
	},
	follow: (*tx).indexJob,
	told:   true,
	forms:  []form[api.Job]{{record: recJob}},
}

// baseRow is the attempts used by a removed job.
type baseRow struct {
	api.Extra
	Job  string `json:"job"`
	Base int    `json:"base"`
}

var baseNoun = noun[baseRow]{
	less:  func(a, b *baseRow) bool { return a.Job < b.Job },
	forms: []form[baseRow]{{record: recBase}},
}

// maxBases bounds the removed job ids whose attempt numbers are remembered.
const maxBases = 10_000

// JobCreate submits a job. Its value is the *api.Job. The same request again,
// or the same spec under the same name, gives the job that is there already.
type JobCreate struct {
	Meta
	Spec    *api.JobSpec `json:"spec"`
	Request string       `json:"request,omitempty"`
	// IfRevision, if not 0, is that of the ended job of that name.
	IfRevision uint64       `json:"ifRevision,omitempty"`
	Filled     []api.Filled `json:"filled,omitempty"` // what of the spec partitions said
}

func (c *JobCreate) apply(x *tx) (any, error) {
	if c.Request != "" {
		if j := x.requested(c.Request); j != nil {
			return j, nil
		}
	}
	if err := x.jobs.unchanged("job", &api.Job{ID: c.Spec.Name}, c.IfRevision); err != nil {
		return nil, err
	}
	part := x.partitions.get(&api.Partition{Path: c.Spec.Partition})
	if part == nil {
		return nil, api.NotFound("partition", c.Spec.Partition)
	}
	if part.Drain {
		return nil, conflict("partition %q is being removed and takes no new work", part.Path)
	}
	if err := x.checkUploads(c.Spec); err != nil {
		return nil, err
	}
	if old := x.jobAt(c.Spec.Name); old == nil || old.State.Ended() { // or nothing new begins
		if err := x.within(c.Spec, nil, c.Spec.Tasks()); err != nil {
			return nil, err
		}
	}
	x.jobSeq++
	j := &api.Job{ID: c.Spec.Name, Version: 1, Spec: c.Spec, Filled: c.Filled, Seq: x.jobSeq, Request: c.Request, Actor: c.Actor, Created: c.At, Updated: c.At}
	if j.ID == "" {
		j.ID = strconv.FormatUint(x.jobSeq, 10)
	} else if r := x.bases.delete(x, &baseRow{Job: j.ID}); r != nil {
		j.Base = r.Base
	}
	if old, err := x.job(j.ID); err == nil {
		if !old.State.Ended() {
			if reflect.DeepEqual(old.Spec, c.Spec) {
				return old, nil
			}
			return nil, conflict("job %q exists and differs: change it with `mesita apply`, stop it, or choose another name", j.ID)
		}
		j.Version, j.History = old.Version+1, x.pushVersion(old)
		j.Base = x.dropTasks(old)
		x.jobs.delete(x, old)
		j.Places = x.places(old, j)
	} else {
		j.Places = x.places(nil, j)
	}
	if j.Spec.Kind == api.KindBatch {
		j.Counts.Pending = j.Spec.Tasks()
	}
	x.jobs.put(x, j)
	x.happened(api.Event{Kind: api.EventJobCreated, Object: j.ID, Job: j.ID, Message: fmt.Sprintf("%s, %s, partition %s", j.Spec.Kind, x.count(j.Spec.Tasks(), "task"), j.Spec.Partition)})
	x.firstTasks(j)
	return x.job(j.ID)
}

// firstTasks makes the tasks of a new service, as far as one command should: a
// small one needs no further log entry before it can be placed. The controller
// makes the rest. A batch's tasks are only counted until they are placed.
func (x *tx) firstTasks(j *api.Job) {
	if j.Spec.Kind != api.KindService {
		return
	}
	n := min(j.Spec.Tasks(), maxFirstTasks)
	if x.begun != nil {
		n = min(n, maxApplyTasks-*x.begun)
		*x.begun += n
	}
	x.makeTasks(j.ID, 0, n)
}

const maxFirstTasks = 1000

func (x *tx) checkUploads(s *api.JobSpec) error {
	if s.Program != "" && x.blobs.get(&api.Blob{Digest: s.Program}) == nil {
		return api.FieldErrorf("program", "%s was not uploaded: upload it first", s.Program)
	}
	size := api.Bytes(0)
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		digest, _, _ := api.ParseFile(s.Files[name])
		b := x.blobs.get(&api.Blob{Digest: digest})
		if b == nil {
			return api.FieldErrorf("files."+name, "%s was not uploaded: upload it first", digest)
		}
		size += api.Bytes(b.Size)
	}
	if size > api.MaxFilesSize {
		return api.FieldErrorf("files", "have %s together, at most %s are allowed, as each attempt gets a copy: have the task fetch what is larger", size, api.MaxFilesSize)
	}
	return nil
}

// pushVersion is the history of a job that gets another spec: the last versions, and
// those of which tasks are there still, as nobody could tell their node any more what
// they are, and it would end them.
func (x *tx) pushVersion(old *api.Job) []api.JobVersion {
	h := append(slices.Clone(old.History), api.JobVersion{Version: old.Version, Spec: old.Spec, Created: old.Updated})
	beyond := max(0, len(h)-api.MaxHistory)
	if beyond == 0 || !x.does(RunningVersions) {
		return slices.Delete(h, 0, beyond) // which keeps none of them alive
	}
	there := map[int]bool{}
	for _, t := range x.jobTasks(old.ID) {
		there[t.Version] = there[t.Version] || !t.State.Final()
	}
	kept := slices.DeleteFunc(slices.Clone(h[:beyond]), func(v api.JobVersion) bool { return !there[v.Version] })
	return append(kept, h[beyond:]...)
}

// places is where a job was, once it is what is to be put next. Of a job of before
// there were places nobody knows since when it is where it is: that begins as it moves.
func (x *tx) places(old, j *api.Job) []api.JobPlace {
	if !x.does(JobPlaces) {
		return nil
	}
	var was []api.JobPlace
	if old != nil {
		if was = old.Places; old.Spec.Partition == j.Spec.Partition {
			return was
		}
	}
	is := api.JobPlace{Partition: j.Spec.Partition, Version: j.Version, Event: x.event + 1, Incident: x.incidentN + 1}
	return append(slices.Clone(was[max(0, len(was)+1-api.MaxPlaces):]), is)
}

// dropTasks removes all tasks of an ended job and returns the highest attempt
// that any of them had.
func (x *tx) dropTasks(j *api.Job) int {
	base := j.Base
	for _, t := range x.jobTasks(j.ID) {
		base = max(base, t.Attempt)
		x.tasks.delete(x, t)
	}
	return base
}

// JobUpdate gives a job a new spec, if it still has the version IfVersion and
// the revision IfRevision (0 = any). Its value is the *api.Job.
type JobUpdate struct {
	Meta
	ID        string       `json:"id"`
	IfVersion int          `json:"ifVersion,omitempty"`
	Spec      *api.JobSpec `json:"spec"`

	IfRevision uint64       `json:"ifRevision,omitempty"`
	Filled     []api.Filled `json:"filled,omitempty"` // what of the spec partitions said
}

func (c *JobUpdate) apply(x *tx) (any, error) {
	old, err := x.job(c.ID)
	if err != nil {
		return nil, err
	}
	if err := x.jobs.unchanged("job", old, c.IfRevision); err != nil {
		return nil, err
	}
	switch {
	case c.IfVersion != 0 && old.Version != c.IfVersion:
		return nil, conflict("job %q is now at version %d, not %d: look at it and try again", c.ID, old.Version, c.IfVersion)
	case old.Spec.Kind != api.KindService || c.Spec.Kind != api.KindService:
		return nil, conflict("job %q cannot be changed: only services can; submit it under another name", c.ID)
	case old.Stop || old.State.Ended():
		return nil, conflict("job %q is %s: run it again instead", c.ID, old.State)
	case reflect.DeepEqual(old.Spec, c.Spec):
		return old, nil
	}
	if err := x.checkUploads(c.Spec); err != nil {
		return nil, err
	}
	more := c.Spec.Tasks() - old.Spec.Tasks()
	if c.Spec.Partition != old.Spec.Partition {
		more = c.Spec.Tasks() // all of them are new there
	}
	if err := x.within(c.Spec, old.Spec, more); err != nil {
		return nil, err
	}
	j := *old
	j.Spec, j.Filled, j.Updated = c.Spec, c.Filled, c.At
	if x.sameTasks(j.ID, old.Spec, c.Spec) {
		if was, is := old.Spec.Tasks(), c.Spec.Tasks(); was != is {
			x.happened(scaled(j.ID, was, is))
		}
		if c.Spec.CPULimit != old.Spec.CPULimit {
			x.happened(api.Event{Kind: api.EventJobUpdated, Object: j.ID, Job: j.ID, Message: "CPU limit " + limitText(old.Spec) + " to " + limitText(c.Spec) + ", also of tasks that run"})
			x.tellNodes(j.ID)
		}
		what := ""
		switch {
		case c.Spec.AtMostOnce != old.Spec.AtMostOnce:
			what = "priority, labels or atMostOnce"
		case c.Spec.Priority != old.Spec.Priority || !maps.Equal(c.Spec.Labels, old.Spec.Labels):
			what = "priority or labels" // as at level 0
		}
		if what != "" {
			x.happened(api.Event{Kind: api.EventJobUpdated, Object: j.ID, Job: j.ID, Message: what + "; its tasks stay as they are"})
		}
	} else {
		j.Version, j.History = old.Version+1, x.pushVersion(old)
		j.Places = x.places(old, &j)
		x.happened(api.Event{Kind: api.EventJobUpdated, Object: j.ID, Job: j.ID, Message: "version " + strconv.Itoa(j.Version)})
	}
	x.replaceJob(&j)
	x.renew(&j)
	return x.trim(x.jobAt(j.ID)), nil
}

// sameTasks reports whether each task of a job is the same by both specs: how many
// there are, and what the job is listed by, is not a reason to replace one.
func (x *tx) sameTasks(job string, a, b *api.JobSpec) bool {
	like := *a
	if a.CPULimit != b.CPULimit && x.movesLimits(job) {
		like.CPULimit = b.CPULimit
	}
	like.Count, like.Priority, like.Labels, like.AtMostOnce = b.Count, b.Priority, b.Labels, b.AtMostOnce
	return reflect.DeepEqual(&like, b)
}

func limitText(s *api.JobSpec) string {
	if s.CPULimit == 0 {
		return "none"
	}
	return api.MilliCPU(s.CPULimit).String()
}

// movesLimits reports whether all nodes of a job's tasks give them another limit of
// CPU as they run. One with an old program would leave them the one they have.
func (x *tx) movesLimits(job string) bool {
	return x.does(LiveLimits) && !slices.ContainsFunc(x.jobTasks(job), func(t *api.Task) bool {
		r := x.rowAt(t.NodeID)
		return t.Holds() && r != nil && !x.nodeDoes(LiveLimits, r.node)
	})
}

// tellNodes has the nodes of a job's tasks look at what they run: what it says of
// them changed.
func (x *tx) tellNodes(job string) {
	for _, t := range x.jobTasks(job) {
		if t.Holds() {
			x.touch(TableNodeTasks, t.NodeID)
		}
	}
}

func scaled(job string, from, to int) api.Event {
	return api.Event{Kind: api.EventJobScaled, Object: job, Job: job, Message: strconv.Itoa(from) + " to " + strconv.Itoa(to)}
}

// trim removes the ended tasks that a service wants no more, or wants again: when
// it grows it begins anew there. It returns the job as it is then.
func (x *tx) trim(j *api.Job) *api.Job {
	for _, t := range x.jobTasks(j.ID) {
		if t.State.Final() && (t.Index >= j.Spec.Tasks() || x.wantedAgain(t, t.Reason)) {
			x.removeTask(t)
		}
	}
	return x.jobAt(j.ID)
}

// JobScale changes how many tasks a service keeps running. Its value is the
// *api.Job.
type JobScale struct {
	Meta
	ID    string `json:"id"`
	Count int    `json:"count"`
}

func (c *JobScale) apply(x *tx) (any, error) {
	old, err := x.job(c.ID)
	if err != nil {
		return nil, err
	}
	if old.Spec.Kind != api.KindService {
		return nil, conflict("job %q is a %s: only services can be scaled", c.ID, old.Spec.Kind)
	}
	if old.Stop {
		return nil, conflict("job %q is %s: run it again instead", c.ID, old.State)
	}
	if c.Count < 0 || c.Count > api.MaxCount {
		return nil, api.FieldErrorf("count", "%d is not within 0 to %d", c.Count, api.MaxCount)
	}
	if old.Spec.Tasks() == c.Count {
		return old, nil
	}
	if err := x.mayWait(old.Spec.Partition, "", c.Count-old.Spec.Tasks()); err != nil {
		return nil, err
	}
	j, spec := *old, *old.Spec
	spec.Count = new(c.Count)
	j.Spec, j.Updated = &spec, c.At
	x.happened(scaled(j.ID, old.Spec.Tasks(), c.Count))
	x.replaceJob(&j)
	return x.trim(&j), nil
}

// JobStop tells a job to stop: pending tasks end at once, the others are told
// to. Its value is the *api.Job.
type JobStop struct {
	Meta
	ID string `json:"id"`

	cause     string // when it follows from another command
	framework bool   // and it is the end of the framework that the job is of
}

func (c *JobStop) apply(x *tx) (any, error) {
	old, err := x.job(c.ID)
	if err != nil {
		return nil, err
	}
	if old.Stop || old.State.Ended() {
		x.jobUnwanted(c.ID) // of a service that gave up they are still open
		return old, nil
	}
	if old.Framework != "" && !c.framework {
		return nil, conflict("job %s is what framework %s runs: stop one of its tasks, or remove the framework with `mesita framework rm`", c.ID, old.Framework)
	}
	j, why := *old, cmp.Or(c.cause, "asked for")
	j.Counts.Pending -= old.Unmade() // they never will be
	if n := old.Unmade(); n > 0 && x.does(StoppedTasks) {
		j.Counts.Stopped += n
		why += fmt.Sprintf(", %s never began", x.count(n, "task"))
	}
	j.Stop, j.Updated = true, c.At
	x.happened(api.Event{Kind: api.EventJobStopped, Object: j.ID, Job: j.ID, Message: why})
	x.replaceJob(&j)
	for _, t := range x.jobTasks(c.ID) {
		x.stopTask(t, api.DesiredStop, api.ReasonStopped)
	}
	x.jobUnwanted(c.ID)
	return x.job(c.ID)
}

// JobRemove forgets ended jobs and their tasks. Its value is how many.
type JobRemove struct {
	Meta
	IDs []string `json:"ids"`
}

func (c *JobRemove) apply(x *tx) (any, error) {
	n := 0
	var refused error
	for _, id := range c.IDs {
		j, err := x.job(id)
		if err == nil && !j.State.Ended() {
			err = conflict("job %q is %s: stop it first", id, j.State)
		}
		if err != nil {
			refused = err
			continue
		}
		base := x.dropTasks(j)
		if j.Spec.Name != "" {
			x.rememberBase(id, base)
		}
		x.jobs.delete(x, j)
		x.happened(api.Event{Kind: api.EventJobRemoved, Object: id, Job: id, Payload: api.Payload{Job: j}, Message: "was " + j.State.String()})
		n++
	}
	if len(c.IDs) == 1 {
		return n, refused
	}
	return n, nil
}

func (x *tx) rememberBase(job string, base int) {
	if x.bases.len() >= maxBases {
		x.bases.delete(x, x.bases.first())
	}
	x.bases.put(x, &baseRow{Job: job, Base: base})
}

// Job is nil if there is none with that id.
func (v *View) Job(id string) *api.Job { return v.t.jobs.get(&api.Job{ID: id}) }

// Jobs lists all jobs by id.
func (v *View) Jobs() iter.Seq[*api.Job] { return v.t.jobs.all() }

// JobsAfter lists those with a greater id.
func (v *View) JobsAfter(id string) iter.Seq[*api.Job] {
	return func(yield func(*api.Job) bool) {
		v.t.jobs.rows.AscendGreaterOrEqual(&api.Job{ID: id}, func(j *api.Job) bool { return j.ID == id || yield(j) })
	}
}

// EndedJobs lists the ended jobs, the oldest end first.
func (v *View) EndedJobs() iter.Seq[*api.Job] {
	return func(yield func(*api.Job) bool) {
		v.t.ended.Ascend(func(j *api.Job) bool { return yield(v.Job(j.ID)) })
	}
}

// EndedCount is the number of ended jobs.
func (v *View) EndedCount() int { return v.t.ended.Len() }

// LiveCount is how many jobs have not ended.
func (v *View) LiveCount() int { return v.t.jobs.len() - v.t.ended.Len() }

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

// LiveJobs lists the jobs that have not ended.
func (v *View) LiveJobs() iter.Seq[*api.Job] {
	return func(yield func(*api.Job) bool) {
		v.t.jobs.rows.Ascend(func(j *api.Job) bool { return j.State.Ended() || yield(j) })
	}
}
