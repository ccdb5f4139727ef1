package fsm

import (
	"cmp"
	"fmt"
	"time"

	"github.com/mesita/mesita/api"
)

var taskNoun = noun[api.Task]{
	less: func(a, b *api.Task) bool {
		return compareTasks(a, b) < 0
	},
	watch:    TableTasks,
	id:       func(t *api.Task) string { return t.ID },
	revision: func(t *api.Task) *uint64 { return &t.Revision },
	follow:   (*tx).indexTask,
	told:     true,
	forms:    []form[api.Task]{{record: recTask}},
}

// TaskCreate makes the tasks of a service with the indexes First to First+Count-1
// that do not exist. Its value is how many were made.
type TaskCreate struct {
	Meta
	Job   string `json:"job"`
	First int    `json:"first"`
	Count int    `json:"count"`
}

func (c *TaskCreate) apply(x *tx) (any, error) {
	j, err := x.job(c.Job)
	if err != nil {
		return nil, err
	}
	if j.Stop || j.State.Ended() {
		return nil, conflict("job %q is %s", c.Job, j.State)
	}
	if j.Spec.Kind != api.KindService {
		return 0, nil // made one by one as they are placed, or as their framework launches them
	}
	return x.makeTasks(c.Job, c.First, c.Count), nil
}

// makeTasks makes those tasks of a job that do not exist, and returns how
// many.
func (x *tx) makeTasks(job string, first, count int) int {
	j := x.jobAt(job)
	made := 0
	need := j.Spec.Need()
	next := *j
	for i := first; i < first+count; i++ {
		if x.taskAt(job, i) != nil {
			continue
		}
		t := &api.Task{ID: api.TaskID(job, i), Job: job, Index: i, Version: j.Version, Partition: j.Spec.Partition,
			Attempt: j.Base + 1, Resources: need, Created: x.At}
		x.happened(api.Event{Kind: api.EventTaskCreated, Object: t.ID, Job: job, Task: t, Message: "its job wants it"})
		x.tasks.put(x, t)
		next.Counts.Pending++
		made++
	}
	if made > 0 {
		x.replaceJob(&next)
	}
	return made
}

// Placement puts one attempt of a task on a node.
type Placement struct {
	Job     string `json:"job"`
	Index   int    `json:"index"`
	Attempt int    `json:"attempt"`
	NodeID  string `json:"nodeID"`
	// Resources is what it holds there; nil: what the task asks for. One with
	// ports names their numbers here.
	Resources *api.Resources `json:"resources,omitempty"`
	Ports     map[string]int `json:"ports,omitempty"`
	// Rescind is the offers whose room it takes, or what they count to limits: they
	// are gone with it, and stay if it is left out.
	Rescind []string `json:"rescind,omitempty"`
}

// need is what the placement of that task holds.
func (p *Placement) need(t *api.Task) api.Resources {
	if p.Resources != nil {
		return *p.Resources
	}
	return t.Resources
}

// TaskPlace places tasks. A placement whose task or node changed meanwhile, or that
// breaks a rule of where the task may go, is left out. Its value is how many were placed.
type TaskPlace struct {
	Meta
	Placements []Placement `json:"placements"`
}

func (c *TaskPlace) apply(x *tx) (any, error) {
	placed := 0
	defer x.made()
	x.placing = placing{}
	for i := 0; i < len(c.Placements); {
		n := 1
		if i == 0 || c.Placements[i].Job != c.Placements[i-1].Job {
			x.made()
		}
		if x.isGang(&c.Placements[i]) {
			for i+n < len(c.Placements) && c.Placements[i+n].Job == c.Placements[i].Job {
				n++
			}
			if !x.gangFits(c.Placements[i : i+n]) {
				i += n
				continue
			}
		}
		for k := range n {
			if x.place(&c.Placements[i+k]) {
				placed++
			}
		}
		for k := range n { // of a gang all, or it would be torn apart
			x.tried(c.Placements[i+k].NodeID)
		}
		i += n
	}
	return placed, nil
}

func (x *tx) isGang(p *Placement) bool {
	j := x.run
	if j == nil || j.ID != p.Job {
		j = x.jobAt(p.Job)
	}
	return j != nil && j.Spec.Gang > 0
}

// place puts one attempt on a node, if both are still as they were.
func (x *tx) place(p *Placement) bool {
	row := x.rowAt(p.NodeID)
	if row == nil || !row.node.Schedulable() {
		return false
	}
	if old := x.taskAt(p.Job, p.Index); old != nil {
		x.made() // its count goes to the job as stored
		j := x.jobAt(p.Job)
		if j != nil && (j.Hold || !x.mayRun(j, 1)) {
			return false
		}
		t := *old
		if !x.placed(&t, p, row) {
			return false
		}
		x.putTask(&t)
		if j != nil {
			x.placing.tally.Add(j, 1)
		}
		return true
	}
	j := x.making(p.Job)
	if j == nil {
		return false
	}
	if first, _, err := j.Spec.Indexes(); err != nil || p.Index != first+j.Made {
		return false
	}
	t := j.UnmadeTask(p.Index)
	if !x.mayRun(j, 1) || !x.placed(t, p, row) {
		return false
	}
	x.putMade(t, j)
	x.placing.tally.Add(j, 1)
	return true
}

// placed makes a pending task one that was placed. It is false, and the task as
// it was, if it cannot be placed there.
func (x *tx) placed(t *api.Task, p *Placement, row *nodeRow) bool {
	need, loans := p.need(t), x.loans(p, nil)
	if !t.Pending() || t.Attempt != p.Attempt || t.Desired != api.DesiredRun || !row.roomWithout(loans).Fits(need) || !x.knows(row.node, t) || !x.rules(t).follows(t, p, row.node) ||
		!x.leavesOffers(t.Partition, need, loans) {
		return false
	}
	for _, o := range loans {
		x.endOffer(o, "taken back for "+t.ID)
	}
	x.placing.note(t.Job, row.node)
	t.Node, t.NodeID, t.Resources, t.Ports = row.node.Name, row.node.ID, need, p.Ports
	x.happened(api.Event{Kind: api.EventTaskPlaced, Object: t.ID, Job: t.Job, Node: t.Node, Task: t})
	return true
}

// knows reports whether the program of a node knows what a task asks for.
func (x *tx) knows(n *api.Node, t *api.Task) bool {
	if x.level < features[ProcessSpecs].level || Level(n.Level) >= x.level {
		return true
	}
	j := x.jobAt(t.Job)
	if j == nil {
		return true
	}
	need := SpecLevel(j.SpecFor(t))
	return Level(n.Level) >= need || need > x.level // which whoever took the job knew nothing of
}

// making is the copy of a batch that collects what the placements of its
// unmade tasks change, so that a run of them changes the job once; nil if it
// has none to make.
func (x *tx) making(job string) *api.Job {
	if x.run != nil && x.run.ID == job {
		if x.run.Unmade() == 0 {
			return nil
		}
		return x.run
	}
	x.made()
	j := x.jobAt(job)
	if j == nil || j.Hold || j.Unmade() == 0 {
		return nil
	}
	next := *j
	x.run = &next
	return x.run
}

// made stores the job that was being made.
func (x *tx) made() {
	if x.run != nil {
		x.replaceJob(x.run)
		x.run = nil
	}
}

// gangFits reports whether all unfinished tasks of a gang are among ps and have
// room together: it starts whole or not at all.
func (x *tx) gangFits(ps []Placement) bool {
	j := x.jobAt(ps[0].Job)
	if j.Hold || len(ps) != j.Counts.Pending || j.Counts.Live() != j.Counts.Pending || !x.mayRun(j, len(ps)) {
		return false
	}
	before := x.placing
	x.placing = before.clone()
	defer func() { x.placing = before }()
	taken := map[string]api.Resources{}
	var loans []*api.Offer
	var whole api.Resources
	seen := map[int]bool{}
	for i := range ps {
		p := &ps[i]
		t := x.taskAt(p.Job, p.Index)
		if t == nil && p.Index >= 0 && p.Index < j.Spec.Gang && p.Index == j.Made+i {
			t = j.UnmadeTask(p.Index)
		}
		if t == nil || seen[p.Index] || !t.Pending() || t.Attempt != p.Attempt || t.Desired != api.DesiredRun {
			return false
		}
		seen[p.Index] = true
		row := x.rowAt(p.NodeID)
		if row == nil || !row.node.Schedulable() {
			return false
		}
		loans = x.loans(p, loans)
		need := p.need(t)
		whole = whole.Add(charged(need))
		left := row.roomWithout(loans).Minus(taken[p.NodeID])
		if !left.Fits(need) || !x.knows(row.node, t) || !x.rules(t).follows(t, p, row.node) || !x.leavesOffers(t.Partition, whole, loans) {
			return false
		}
		x.placing.note(t.Job, row.node)
		taken[p.NodeID] = taken[p.NodeID].Add(need)
	}
	return true
}

// removeTask forgets a task that is no longer wanted, but not the number of
// its attempts.
func (x *tx) removeTask(t *api.Task) {
	x.deleteTask(t)
	if prev := x.jobAt(t.Job); prev != nil && prev.Base < t.Attempt {
		j := *prev
		j.Base = t.Attempt
		x.replaceJob(&j)
	}
	why := "its job wants fewer"
	if x.wantedAgain(t, t.Reason) && t.Index < x.jobAt(t.Job).Spec.Tasks() {
		why = "its job wants it again: another begins in its place"
	}
	x.happened(api.Event{Kind: api.EventTaskRemoved, Object: t.ID, Job: t.Job, Message: why})
}

// TaskStop tells tasks to end: for good, or with Move to start again elsewhere; with
// Attempt, which is for one task, only that attempt. Its value is how many were told.
type TaskStop struct {
	Meta
	IDs     []string   `json:"ids"`
	Move    bool       `json:"move,omitempty"`
	Reason  api.Reason `json:"reason,omitempty"`
	Attempt int        `json:"attempt,omitempty"`
}

// OtherAttempt is why a task is not stopped of which another attempt was meant.
func OtherAttempt(t *api.Task, meant int) error {
	return &api.Error{Code: api.CodeConflict, Field: "attempt", Message: fmt.Sprintf("task %s is at attempt %d, and not at %d any more: look at it, and stop that one", t.ID, t.Attempt, meant)}
}

func (c *TaskStop) apply(x *tx) (any, error) {
	if err := c.startsAgain(x); err != nil {
		return 0, err
	}
	if c.Attempt != 0 && len(c.IDs) != 1 {
		return 0, api.FieldErrorf("attempt", "is of one task, and %d are named", len(c.IDs))
	}
	n := 0
	for _, id := range c.IDs {
		job, index, ok := splitTaskID(id)
		if !ok {
			continue
		}
		t := x.taskAt(job, index)
		switch {
		case c.Attempt == 0:
		case t == nil: // one of an array that was not made yet has had no attempt
			return 0, api.NotFound("running task", id)
		case t.Attempt != c.Attempt:
			return 0, OtherAttempt(t, c.Attempt)
		}
		if t == nil && x.stopUnmade(job, index, c) {
			n++
		}
		if t == nil || t.State.Final() {
			continue
		}
		desired := api.DesiredStop
		if c.Move {
			desired = api.DesiredMove
		}
		if c.Move && c.Reason == api.ReasonStopped && x.startNow(t) || x.stopTask(t, desired, c.Reason) {
			n++
		}
	}
	if n == 0 && len(c.IDs) == 1 {
		return 0, api.NotFound("running task", c.IDs[0])
	}
	return n, nil
}

// stopTask changes what is wanted of a task. One that is pending has nothing
// to end: it ends, or just takes its job's newest version.
func (x *tx) stopTask(old *api.Task, desired api.Desired, reason api.Reason) bool {
	if old.State.Final() || old.Desired == desired || old.Desired == api.DesiredStop || old.Desired == api.DesiredMove && desired == api.DesiredFreeze {
		return false
	}
	t := *old
	t.Desired, t.Reason = desired, reason
	if !t.Pending() {
		if desired != api.DesiredFreeze { // which was told as a preemption
			x.happened(api.Event{Kind: api.EventTaskStop, Object: t.ID, Job: t.Job, Node: t.Node, Task: &t, Message: cmp.Or(string(reason), "asked for")})
		}
		x.putTask(&t)
		return true
	}
	if desired == api.DesiredMove {
		j := x.jobAt(t.Job)
		if j == nil || j.Version == t.Version {
			return false
		}
		t.Desired, t.Version, t.Resources = api.DesiredRun, j.Version, j.Spec.Need()
		if x.does(FreshVersions) {
			t.Failures, t.NotBefore = 0, time.Time{}
		}
		x.putTask(&t)
		return true
	}
	t.State, t.Ended = api.TaskKilled, x.At
	x.happened(api.Event{Kind: api.EventTaskState, Object: t.ID, Job: t.Job, Task: &t, Message: string(reason)})
	x.endTask(old, &t, nil)
	return true
}

func splitTaskID(id string) (job string, index int, ok bool) {
	i := len(id) - 1
	scale := 1
	for ; i >= 0 && id[i] >= '0' && id[i] <= '9' && scale <= 1e9; i-- {
		index += int(id[i]-'0') * scale
		scale *= 10
	}
	if i < 1 || i == len(id)-1 || id[i] != '.' {
		return "", 0, false
	}
	return id[:i], index, true
}
