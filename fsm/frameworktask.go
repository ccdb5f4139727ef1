package fsm

import (
	"cmp"
	"iter"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
)

// FrameworkAccept takes offers of one node and starts tasks in their room; what they
// leave of it is free. It is refused as a whole, and then the offers that it names and
// that are the framework's are gone, too, or else each task is by itself. Its value is
// the *Accepted.
type FrameworkAccept struct {
	Meta
	Framework string            `json:"framework"`
	Session   string            `json:"session"`
	Offers    []string          `json:"offers"`
	Tasks     []FrameworkLaunch `json:"tasks,omitempty"`
	// Conversions are changes of what is reserved of that room, in the order in which they are
	// done.
	Conversions []Conversion `json:"conversions,omitempty"`
}

// FrameworkLaunch is one task that a framework starts. Those that follow each other and
// have one group, which here is any name, start together or not at all.
type FrameworkLaunch struct {
	Task      *api.FrameworkTask `json:"task"`
	Resources api.Resources      `json:"resources"`
	Ports     map[string]int     `json:"ports,omitempty"`
	// Executor is what runs it; it is started, too, if it is not on the node. After the first
	// that it runs it may be a Reference.
	Executor *FrameworkExecutor `json:"executor,omitempty"`
}

// Accepted is what became of a FrameworkAccept.
type Accepted struct {
	Invalid   string   // why nothing of it was done
	Tasks     []string // their ids, "" where one was refused
	Refused   []string // why, by task
	Ending    []bool   // by task: it was refused as its executor is about to end
	Converted []string // by conversion: why it was not done, "" if it was
	// Left is what nothing took of what is not reserved, and LeftReserved of what is.
	Left, LeftReserved api.Resources
}

func (c *FrameworkAccept) apply(x *tx) (any, error) {
	f, err := x.framework(c.Framework)
	if err != nil {
		return nil, err
	}
	if f.Session != c.Session || !f.Connected {
		return nil, conflict("framework %s is connected by another session", f.ID)
	}
	offers, invalid := x.accepted(f, c.Offers)
	a := &Accepted{Invalid: invalid, Tasks: make([]string, len(c.Tasks)), Refused: make([]string, len(c.Tasks)), Ending: make([]bool, len(c.Tasks)), Converted: make([]string, len(c.Conversions))}
	g := &ground{tx: x, free: map[string]api.Resources{}, rows: -1, within: true}
	for _, o := range offers {
		g.room = g.room.Add(o.Resources)
		for _, p := range o.Reserved {
			g.free[p.Reservation] = g.free[p.Reservation].Add(p.Resources)
		}
		x.endOffer(o, "taken by its framework")
	}
	if invalid != "" || len(c.Tasks)+len(c.Conversions) == 0 {
		return a, nil
	}
	x.placing = placing{}
	l := &launcher{tx: x, framework: f, offer: offers[0], ground: g, begun: map[string]bool{}}
	tasks, conversions := withExecutors(c.Tasks), 0
	for i := 0; i < len(tasks); {
		conversions = l.convert(c.Conversions, conversions, i, a.Converted)
		n := 1
		for i+n < len(tasks) && tasks[i].group() != "" && tasks[i+n].group() == tasks[i].group() {
			n++
		}
		l.together(tasks[i:i+n], a.Tasks[i:i+n], a.Refused[i:i+n], a.Ending[i:i+n])
		i += n
	}
	l.convert(c.Conversions, conversions, len(tasks), a.Converted)
	a.Left = l.ground.room
	for _, r := range l.ground.free {
		a.LeftReserved = a.LeftReserved.Add(r)
	}
	return a, nil
}

// accepted are the offers of those ids that are the framework's, and why they cannot be
// taken together, "" if they can.
func (x *tx) accepted(f *api.Framework, ids []string) (out []*api.Offer, why string) {
	say := func(s string) {
		if why == "" {
			why = s
		}
	}
	if len(ids) == 0 {
		say("No offers specified")
	}
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		o := x.offers.get(&api.Offer{ID: id})
		twice := seen[id]
		seen[id] = true
		switch {
		case twice:
			say("Duplicate offer " + id + " in offer list")
			continue
		case o == nil || o.Framework != f.ID:
			say("Offer " + id + " is no longer valid")
			continue
		}
		if len(out) > 0 && o.Partition != out[0].Partition {
			say("Aggregated offers must be allocated to the same role. Offer " + id + " uses role " + o.Partition + " but another is using role " + out[0].Partition)
		}
		if len(out) > 0 && o.NodeID != out[0].NodeID {
			say("Aggregated offers must belong to one single agent. Offer " + id + " uses agent " + o.NodeID + " but another is using agent " + out[0].NodeID)
		}
		out = append(out, o)
	}
	return out, why
}

// frameworkJob is the job that has what a framework runs in a partition; it is made with
// the first of that.
func (x *tx) frameworkJob(f *api.Framework, partition string) *api.Job {
	for _, j := range x.frameworkJobs(f.ID) {
		if j.Spec.Partition == partition && !j.Stop {
			return j
		}
	}
	x.jobSeq++
	spec := &api.JobSpec{Name: frameworkJobName(f.Name), Kind: api.KindFramework, Partition: partition, AtMostOnce: true}
	j := &api.Job{ID: strconv.FormatUint(x.jobSeq, 10), Version: 1, Spec: spec, Seq: x.jobSeq, Framework: f.ID, Actor: f.Actor, Created: x.At, Updated: x.At}
	j.Places = x.places(nil, j)
	x.jobs.put(x, j)
	x.happened(api.Event{Kind: api.EventJobCreated, Object: j.ID, Job: j.ID, Message: "what framework " + f.Name + " runs in partition " + partition})
	return j
}

// ofFramework is why nothing but what it runs changes a framework's job.
func ofFramework(j *api.Job) error {
	return conflict("job %s is what framework %s runs: the framework decides on it", j.ID, j.Framework)
}

// frameworkJobName is what can be a job's name of what a framework calls itself.
func frameworkJobName(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' && b.Len() > 0:
			b.WriteRune(r)
		case b.Len() > 0 && b.Len() < 60:
			b.WriteByte('-')
		}
		if b.Len() >= 60 {
			break
		}
	}
	name := strings.Trim(b.String(), "-")
	for strings.Contains(name, "--") {
		name = strings.ReplaceAll(name, "--", "-")
	}
	if name == "" {
		return "framework"
	}
	return name
}

// frameworkJobs are the jobs of a framework that are remembered.
func (t *tables) frameworkJobs(framework string) (out []*api.Job) {
	t.jobsOfFrameworks.AscendGreaterOrEqual(&api.Job{Framework: framework}, func(j *api.Job) bool {
		if j.Framework != framework {
			return false
		}
		out = append(out, t.jobs.get(j))
		return true
	})
	return out
}

// FrameworkKill has a task of a framework end, with another time to do so if it says: a
// shorter one, once the task was told.
// Its value is how many were told.
type FrameworkKill struct {
	Meta
	Framework string        `json:"framework"`
	Task      string        `json:"task"` // by which the framework knows it
	Grace     *api.Duration `json:"grace,omitempty"`
}

func (c *FrameworkKill) apply(x *tx) (any, error) {
	old := x.frameworkTask(c.Framework, c.Task)
	if old == nil || old.State.Final() {
		return 0, api.NotFound("task", c.Task)
	}
	t := *old
	if c.Grace != nil && (*c.Grace < t.Framework.Spec.StopGrace || *c.Grace > t.Framework.Spec.StopGrace && t.Desired != api.DesiredStop) {
		task, spec := *t.Framework, *t.Framework.Spec
		spec.StopGrace = min(max(*c.Grace, 0), api.MaxStopGrace)
		task.Spec = &spec
		t.Framework = &task
		x.putTask(&t)
	}
	if !x.stopTask(&t, api.DesiredStop, api.ReasonStopped) {
		return 0, nil
	}
	return 1, nil
}

// compareFrameworkTasks has those of one id together: one that has not ended is the last,
// whichever partition's job is the newer one.
func compareFrameworkTasks(a, b *api.Task) int {
	return cmp.Or(strings.Compare(a.Framework.Framework, b.Framework.Framework), strings.Compare(a.Framework.ID, b.Framework.ID),
		compareBools(b.State.Final(), a.State.Final()), cmp.Compare(len(a.Job), len(b.Job)), compareTasks(a, b))
}

// frameworkTask is the one that a framework knows by an id: the last that it gave that.
func (t *tables) frameworkTask(framework, id string) *api.Task {
	last := &api.Task{Job: newestJob, Framework: &api.FrameworkTask{Framework: framework, ID: id}}
	var found *api.Task
	t.frameworkTasks.DescendLessOrEqual(last, func(row *api.Task) bool {
		if row.Framework.Framework == framework && row.Framework.ID == id {
			found = t.tasks.get(row)
		}
		return false
	})
	return found
}

// newestJob is after the id of any job of a framework, which is a number.
const newestJob = "999999999999999999999"

// indexFrameworkTask keeps that in step, and which executors there are.
func (x *tx) indexFrameworkTask(old, t *api.Task) {
	if of := cmp.Or(t, old); of.Framework == nil {
		return
	} else if of.Framework.Executor != "" {
		x.indexExecutor(old, t)
	}
	switch {
	case t != nil && !t.Framework.IsExecutor:
		if old != nil && old.State.Final() != t.State.Final() {
			x.frameworkTasks.Delete(old)
		}
		x.frameworkTasks.ReplaceOrInsert(t)
	case t == nil && !old.Framework.IsExecutor:
		x.frameworkTasks.Delete(old)
	}
}

// FrameworkTask is the task that a framework knows by an id, nil if there is none.
func (v *View) FrameworkTask(framework, id string) *api.Task {
	return v.t.frameworkTask(framework, id)
}

// FrameworkTasks lists what a framework runs, and what of it has ended and is remembered,
// by the ids that it gave.
func (v *View) FrameworkTasks(framework string) iter.Seq[*api.Task] {
	return func(yield func(*api.Task) bool) {
		v.t.frameworkTasks.AscendGreaterOrEqual(&api.Task{Framework: &api.FrameworkTask{Framework: framework}}, func(t *api.Task) bool {
			return t.Framework.Framework == framework && yield(v.t.tasks.get(t))
		})
	}
}

// FrameworkJobs lists the jobs of a framework, of which there is one for each partition
// in which it ran something.
func (v *View) FrameworkJobs(framework string) []*api.Job { return v.t.frameworkJobs(framework) }
