package api

import (
	"fmt"
	"slices"
	"strings"
)

// What a plan or a why says of jobs that its reader does not see is said of
// "another job". It must not tell whether there is a job of a name either.

const (
	// HintRoom is what a why says that has nothing else to advise.
	HintRoom  = "it starts by itself when a node has room; `mesita top` shows who uses what"
	causeJob  = "for job "
	causePart = " of partition "
	otherTask = "a task of another job"
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
	case ObstacleAway:
		return "it starts by itself where job " + o.Job + " has no tasks any more, or on a new node"
	}
	return ""
}

// hide is the obstacle for who does not see all jobs. What a job is to be near to,
// or away from, its own spec names.
func (o Obstacle) hide(sees func(job string) bool) Obstacle {
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
		if o := n.Obstacle.hide(sees); o.Job != n.Obstacle.Job {
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
		g.Task = hideTask(g.Task, seen)
		if job, _, ok := strings.Cut(strings.TrimPrefix(g.Cause, causeJob), causePart); ok && strings.HasPrefix(g.Cause, causeJob) && !seen(job) {
			g.Cause = "for another job"
		}
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
