package api

import (
	"fmt"
	"strings"
	"time"
)

// ObstacleKind is what kind of thing keeps a task from starting.
type ObstacleKind string

// Of the whole cluster.
const (
	ObstacleLimit   ObstacleKind = "limit"     // of the partition, or of one above it
	ObstacleQuota   ObstacleKind = "quota"     // what a limit leaves is kept for the first job
	ObstacleGang    ObstacleKind = "gang"      // not all of its tasks fit at once
	ObstacleOrder   ObstacleKind = "order"     // others of the partition are first
	ObstacleNoNodes ObstacleKind = "no-nodes"  // the cluster has no node for work
	ObstacleNever   ObstacleKind = "never"     // no node could take it, however empty it is
	ObstacleOut     ObstacleKind = "out"       // those that could take it take nothing now
	ObstacleNear    ObstacleKind = "near"      // it must be near a job that is nowhere it may go
	ObstacleAway    ObstacleKind = "away-from" // it must be away from a job that is everywhere it may go
	ObstacleNoJob   ObstacleKind = "no-job"    // it must be near a job that does not exist
	ObstacleFull    ObstacleKind = "full"      // no node has room
	ObstacleTaking  ObstacleKind = "taking"    // others are being preempted for it
	ObstacleRunning ObstacleKind = "running"   // as many run as the partition, or one above it, allows
	ObstacleOnHold  ObstacleKind = "on-hold"   // somebody holds its job
	ObstacleBackoff ObstacleKind = "back-off"  // its last attempt failed, and the next is not due
	ObstacleParts   ObstacleKind = "parts"     // some of its gang are not ready to start again
)

// Of one node; ObstacleNear and ObstacleAway, too.
const (
	ObstacleNone        ObstacleKind = "none"        // it has room
	ObstacleUnavailable ObstacleKind = "unavailable" // it takes nothing new
	ObstacleCondition   ObstacleKind = "condition"   // it does not meet one, or cannot do what is asked for
	ObstacleAvoided     ObstacleKind = "avoided"     // a task of the job could not start there
	ObstacleTooSmall    ObstacleKind = "too-small"   // it never has as much
	ObstacleShort       ObstacleKind = "short"       // it has not as much free
	ObstacleHeld        ObstacleKind = "held"        // what is free is held for another job
)

// Obstacle is one reason why a task waits, as values; its text is made of them,
// here and nowhere else.
type Obstacle struct {
	Kind      ObstacleKind `json:"kind"`
	Partition string       `json:"partition,omitempty"`
	Resource  string       `json:"resource,omitempty"`
	Need      string       `json:"need,omitempty"`
	Have      string       `json:"have,omitempty"`  // what is free; below a limit, what is used
	Limit     string       `json:"limit,omitempty"` // of the partition
	Later     bool         `json:"later,omitempty"` // the limit is reached once those before it have started
	Job       string       `json:"job,omitempty"`   // who is in the way
	Gang      int          `json:"gang,omitempty"`
	PerUser   bool         `json:"perUser,omitempty"` // it is the tasks of one user of whom no more may run
	Running   int          `json:"running,omitempty"` // tasks, of those
	Most      int          `json:"most,omitempty"`    // that may run
	Policy    Policy       `json:"policy,omitempty"`  // by which others are first
	Nodes     []string     `json:"nodes,omitempty"`   // that are out of service
	Until     time.Time    `json:"until,omitzero"`    // when that ends, if it is known
	Detail    string       `json:"detail,omitempty"`  // what else the node says
	Task      string       `json:"task,omitempty"`    // who was told to leave, "": the reader does not see it
	Told      int          `json:"told,omitempty"`    // how many tasks were
}

func (o Obstacle) String() string {
	switch o.Kind {
	case ObstacleLimit:
		if o.Later {
			return fmt.Sprintf("partition %s is at its limit once those before it have started: %s of %s used, %s more asked for", o.Partition, o.Have, amount(o.Limit, o.Resource), o.Need)
		}
		return fmt.Sprintf("partition %s is at its limit: %s of %s used, %s more asked for", o.Partition, o.Have, amount(o.Limit, o.Resource), o.Need)
	case ObstacleQuota:
		return fmt.Sprintf("partition %s keeps what its limit leaves for %s, which was first, %s", o.Partition, jobOr(o.Job), o.until())
	case ObstacleGang:
		return fmt.Sprintf("its gang of %d does not fit at once", o.Gang)
	case ObstacleOrder:
		return fmt.Sprintf("others of partition %s go first by its policy (%s)", o.Partition, o.Policy)
	case ObstacleNoNodes:
		return "the cluster has no node for work"
	case ObstacleNever:
		return "no node can ever take it"
	case ObstacleOut:
		return "no node that could take it takes new tasks: " + strings.Join(o.Nodes, ", ") + " " + o.Detail
	case ObstacleNoJob:
		return WarnNoJob(o.Job)
	case ObstacleFull:
		return "no node can take it now"
	case ObstacleRunning:
		whose := "its"
		if o.PerUser {
			whose = "one user's"
		}
		return fmt.Sprintf("partition %s lets at most %d of %s tasks run, and %d do", o.Partition, o.Most, whose, o.Running)
	case ObstacleOnHold:
		return "job " + o.Job + " is on hold"
	case ObstacleTaking:
		if !o.Until.IsZero() {
			return o.told() + " told to leave for it, at the latest by " + o.Until.Format("15:04:05")
		}
		return "others are being preempted for it"
	case ObstacleBackoff:
		return "its last attempt failed, and the next one waits " + o.until()
	case ObstacleParts:
		return fmt.Sprintf("some of its gang of %d still end, or wait before their next attempt", o.Gang)
	}
	return o.ofNode()
}

func (o Obstacle) ofNode() string {
	switch o.Kind {
	case ObstacleNone:
		return "has room"
	case ObstacleNear:
		return "has no tasks of " + o.Job + " near it"
	case ObstacleAway:
		return "has tasks of " + o.Job + " near it"
	case ObstacleHeld:
		what := "job"
		if o.Gang > 0 {
			what = "gang"
		}
		if o.Job == "" {
			return fmt.Sprintf("%s free, held for another %s %s", o.Have, what, o.until())
		}
		return fmt.Sprintf("%s free, held for %s %s %s", o.Have, what, o.Job, o.until())
	}
	if o.Detail != "" {
		return o.Detail
	}
	return Short{Resource: o.Resource, Need: o.Need, Have: o.Have}.String()
}

// told names who was told to leave.
func (o Obstacle) told() string {
	switch {
	case o.Task == "" && o.Told > 1:
		return Count(o.Told, "task") + " of other jobs are"
	case o.Task == "":
		return otherTask + " is"
	case o.Told > 1:
		return fmt.Sprintf("%s and %s are", o.Task, Count(o.Told-1, "other"))
	}
	return o.Task + " is"
}

// ofTask is the text of an obstacle where it keeps the task from all nodes.
func (o Obstacle) ofTask() string {
	switch o.Kind {
	case ObstacleNear:
		return "it must run near job " + o.Job + " (--affinity), which has no tasks where it could"
	case ObstacleAway:
		return "it must not run near job " + o.Job + " (--affinity), which has tasks wherever it could"
	case ObstacleNone:
		return "it is about to start"
	case ObstacleHeld:
		return "the room there is held for " + jobOr(o.Job) + ", which was first"
	}
	return o.String()
}

func (o Obstacle) until() string {
	if o.Until.IsZero() {
		return "until its tasks end"
	}
	return "until " + o.Until.Format("15:04")
}

// Waiting fills in why a task waits, the first of the obstacles first.
func (w *Why) Waiting(all ...Obstacle) {
	w.Obstacles = all
	if len(all) > 0 {
		w.Summary = w.ID + " is waiting: " + all[0].ofTask()
	}
	if len(all) > 1 && all[0].Kind == ObstacleOnHold {
		w.Summary += "; once it is released: " + all[1].ofTask()
	}
}

// Reason is why a task waits, without its name.
func (w *Why) Reason() string {
	if len(w.Obstacles) > 0 {
		return w.Obstacles[0].ofTask()
	}
	return w.Summary
}
