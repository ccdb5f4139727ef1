package api

import (
	"fmt"
	"slices"
	"strings"
)

// What a plan or a why says of jobs that its reader does not see is said of
// "another job". It must not reveal whether there is a job of a name either.

const (
	// HintRoom is what a why says that has nothing else to advise.
	HintRoom  = "it starts by itself when a node has room; `mesita top` shows who uses what"
	causeJob  = "for job "
	causePart = " of partition "
	otherTask = "a task of another job"

	// CannotStart is what a why says of a node on which starts failed, NoStarts what
	// an event says of it, each followed by what the last task that failed there said:
	// that names its program, its folder and its user.
	CannotStart = "can start no task: "
	NoStarts    = "it gets no new tasks, since none starts there: "
	untold      = "why is told to who sees all jobs"
)

// CauseOf is why something is taken back for a job.
func CauseOf(job, partition string) string { return causeJob + job + causePart + partition }

// WarnNoJob is what a plan says of a job that is to be near one that is not there.
func WarnNoJob(near string) string {
	return fmt.Sprintf("it must run near job %s (--affinity), and there is no such job", near)
}

// jobOr is a job by its name, of one that is hidden that it is another.
func jobOr(name string) string {
	if name == "" {
		return "another job"
	}
	return "job " + name
}

// Holder is who holds what a task lacks on a node.
type Holder struct {
	Job       string `json:"job"` // "": the reader does not see it
	Partition string `json:"partition"`
	Holds     string `json:"holds"`
}

func (h Holder) String() string {
	return fmt.Sprintf("%s of partition %s holds %s there", jobOr(h.Job), h.Partition, h.Holds)
}

// Hint is what ends an obstacle by itself, "" if that is not known.
func (o Obstacle) Hint() string {
	switch o.Kind {
	case ObstacleNoJob:
		return "it starts by itself near job " + o.Job + " once there is one"
	case ObstacleRunning:
		return "it starts by itself once enough tasks of partition " + o.Partition + " have ended"
	case ObstacleAway:
		return "it starts by itself where job " + o.Job + " has no tasks any more, or on a new node"
	}
	return ""
}

// hide is the obstacle for who does not see all jobs. What a job is to be near to,
// or away from, its own spec names.
func (o Obstacle) hide(sees func(job string) bool) Obstacle {
	if strings.HasPrefix(o.Detail, CannotStart) {
		o.Detail = CannotStart + untold
	}
	if o.Task != "" && hideTask(o.Task, sees) == otherTask {
		o.Task = ""
	}
	switch {
	case o.Job == "" || sees(o.Job) || o.Kind == ObstacleNear || o.Kind == ObstacleAway:
	case o.Kind == ObstacleNoJob:
		o.Kind = ObstacleNear
	default:
		o.Job = ""
	}
	return o
}

// Held says who holds what the nearest node lacks.
func (w *Why) Held(all ...Holder) {
	w.Holding, w.Holders = all, nil
	for _, h := range all {
		w.Holders = append(w.Holders, h.String())
	}
}

// Hide leaves out of a why what is of jobs that its reader does not see.
func (w *Why) Hide(sees func(job string) bool) {
	for i, o := range w.Obstacles {
		is := o.hide(sees)
		if w.Obstacles[i] = is; is.Kind != o.Kind {
			w.Hints = slices.DeleteFunc(w.Hints, func(h string) bool { return h == o.Hint() })
			if len(w.Hints) == 0 {
				w.Hints = []string{HintRoom}
			}
		}
	}
	w.Waiting(w.Obstacles...)
	for i := range w.Nodes {
		n := &w.Nodes[i]
		if o := n.Obstacle.hide(sees); o.Job != n.Obstacle.Job || o.Detail != n.Obstacle.Detail {
			n.Obstacle, n.Reason = o, o.String()
		}
	}
	for i, h := range w.Holding {
		if !sees(h.Job) {
			w.Holding[i].Job = ""
		}
	}
	w.Held(w.Holding...)
}

// Waits says how many tasks of a plan would wait, and what for.
func (p *Plan) Waits() string {
	reason := "there is not enough free"
	if len(p.Obstacles) > 0 {
		reason = p.Obstacles[0].ofTask()
	}
	return fmt.Sprintf("%d of %s would wait: %s", p.Waiting, Count(p.Tasks, "task"), reason)
}

// Hide leaves out of a plan what is of jobs that its reader does not see.
func (p *Plan) Hide(near []Affinity, sees func(job string) bool) {
	seen := func(job string) bool { return job == p.Job || sees(job) }
	waited := p.Waits()
	for i, o := range p.Obstacles {
		p.Obstacles[i] = o.hide(seen)
	}
	for i, x := range p.Warnings {
		if x == waited {
			p.Warnings[i] = p.Waits()
		}
	}
	for _, a := range near {
		if !seen(a.Job) {
			p.Warnings = slices.DeleteFunc(p.Warnings, func(x string) bool { return x == WarnNoJob(a.Job) })
		}
	}
	for i := range p.GiveWay {
		g := &p.GiveWay[i]
		g.Task, g.Cause = hideTask(g.Task, seen), hideCause(g.Cause, seen)
	}
}

// Hide leaves out of the plan of a partition what is of jobs that its reader does
// not see.
func (c *PartitionChange) Hide(sees func(job string) bool) {
	for i, id := range c.Reclaimed {
		c.Reclaimed[i] = hideTask(id, sees)
	}
}

func hideTask(id string, sees func(job string) bool) string {
	if i := strings.LastIndexByte(id, '.'); i >= 0 && sees(id[:i]) {
		return id
	}
	return otherTask
}

// hideCause leaves out of a text that ends in a CauseOf for whom something was
// taken back.
func hideCause(text string, sees func(job string) bool) string {
	before, of, ok := strings.Cut(text, causeJob)
	if job, _, whole := strings.Cut(of, causePart); !ok || !whole || sees(job) {
		return text
	}
	return before + "for another job"
}

// Hide leaves out of an event that its reader sees what it says of other jobs.
func (e *Event) Hide(sees func(job string) bool) {
	fails := string(IncidentStartsFail) + ": "
	switch {
	case e.Kind == EventTaskPreempted:
		e.Message = hideCause(e.Message, sees)
	case e.Kind == EventNodeUpdated && strings.HasPrefix(e.Message, NoStarts):
		e.Message = NoStarts + untold
	case e.Kind == EventIncidentOpened && strings.HasPrefix(e.Message, fails):
		e.Message = fails + untold
	}
}

// Hide leaves out of an incident that its reader sees what it says of other jobs.
func (i *Incident) Hide() {
	if i.Kind == IncidentStartsFail {
		i.Message = untold
	}
}

// Hide leaves out of a node's trouble what is of jobs that its reader does not see.
func (s *StartTrouble) Hide(sees func(job string) bool) {
	s.Failed = slices.Clone(s.Failed)
	for i := range s.Failed {
		f := &s.Failed[i]
		if f.Task = hideTask(f.Task, sees); f.Task == otherTask && i == len(s.Failed)-1 { // whose words they are
			s.Message = untold
		}
	}
}
