package api

import (
	"slices"
	"time"
)

// Kind is the kind of a job.
type Kind uint8

// The kinds. Append only.
const (
	KindService   Kind = iota // keeps N running
	KindBatch                 // runs to completion
	KindCron                  // a batch on a timetable
	KindSystem                // one on each matching node
	KindFramework             // what a framework runs in a partition: it says when, and with which spec
)

var kinds = []string{"service", "batch", "cron", "system", "framework"}

func (k Kind) String() string { return enumString(kinds, k) }

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the kind's name.
func (k *Kind) UnmarshalText(b []byte) (err error) {
	*k, err = enumText[Kind]("kind", kinds, b)
	return err
}

// JobState is the sum of a job's tasks.
type JobState uint8

// The states of a job. Append only.
const (
	JobPending  JobState = iota // nothing runs yet
	JobRunning                  // something runs
	JobStopping                 // told to stop, something still runs
	JobStopped                  // told to stop, and did
	JobFinished                 // a batch whose tasks all finished
	JobFailed                   // a batch of which a task failed for good
)

var jobStates = []string{"pending", "running", "stopping", "stopped", "finished", "failed"}

// JobStates are the names of all states of jobs.
func JobStates() []string { return slices.Clone(jobStates) }

func (s JobState) String() string { return enumString(jobStates, s) }

// MarshalText writes the state's name.
func (s JobState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the state's name.
func (s *JobState) UnmarshalText(b []byte) (err error) {
	*s, err = enumText[JobState]("job state", jobStates, b)
	return err
}

// Ended reports whether a job in this state runs nothing and never will again.
func (s JobState) Ended() bool { return s == JobStopped || s == JobFinished || s == JobFailed }

// Job is what a user submitted, with its version history and the count of its
// tasks by what became of them.
type Job struct {
	Extra
	Revision uint64       `json:"revision,omitempty"` // index of the log entry that changed what is asked of it last
	ID       string       `json:"id"`                 // its name, or a number
	Version  int          `json:"version"`
	State    JobState     `json:"state"`
	Stop     bool         `json:"stop,omitempty"` // told to stop
	Hold     bool         `json:"hold,omitempty"` // nothing of it starts until it is released
	Spec     *JobSpec     `json:"spec"`
	Filled   []Filled     `json:"filled,omitempty"`  // what of the spec a partition said, and not its user
	History  []JobVersion `json:"history,omitempty"` // earlier versions, oldest first
	Places   []JobPlace   `json:"places,omitempty"`  // the partitions it was in, oldest first, and the one it is in
	Counts   JobCounts    `json:"counts"`
	Seq      uint64       `json:"seq"`               // order of submission
	Made     int          `json:"made"`              // batch: tasks made so far; the others are just counted as pending
	Skipped  int          `json:"skipped,omitempty"` // batch: tasks beyond those that were stopped before their turn, and were made for that
	Base     int          `json:"base,omitempty"`    // attempts of removed tasks: numbers are never used twice
	// Avoid is where tasks of it failed to start, the newest first.
	Avoid     []AvoidedNode `json:"avoid,omitempty"`
	Request   string        `json:"request,omitempty"`
	Framework string        `json:"framework,omitempty"` // whose tasks it has: its id
	Actor     string        `json:"actor,omitempty"`
	Created   time.Time     `json:"created,omitzero"`
	Updated   time.Time     `json:"updated,omitzero"`
	Ended     time.Time     `json:"ended,omitzero"`
	// ExitCode is the first non-zero exit code of a task that failed for good;
	// 0 when all finished; null before the job has ended.
	ExitCode *int `json:"exitCode,omitempty"`
}

// Masked stands for a value of an environment that the reader may not see.
const Masked = "***"

// JobVersion is an earlier version of a job.
type JobVersion struct {
	Extra
	Version int       `json:"version"`
	Spec    *JobSpec  `json:"spec"`
	Created time.Time `json:"created,omitzero"`
}

// MaxHistory is how many earlier versions a job remembers, beside those of tasks that
// are there.
const MaxHistory = 10

// JobPlace is a partition that a job came to. What is of before is of another.
type JobPlace struct {
	Extra
	Partition string `json:"partition"`
	Version   int    `json:"version"`  // the first there
	Event     uint64 `json:"event"`    // index of the first there
	Incident  uint64 `json:"incident"` // id of the first there, if there is one
}

// MaxPlaces is how many of them a job remembers; what is of before the oldest is
// nobody's who does not see all jobs.
const MaxPlaces = 8

// JobCounts says how many of a job's tasks are in which condition.
type JobCounts struct {
	Extra
	Pending  int `json:"pending"`
	Starting int `json:"starting"` // placed, not running yet
	Running  int `json:"running"`
	Finished int `json:"finished"`
	Failed   int `json:"failed"`
	Stopped  int `json:"stopped,omitempty"` // asked to end, and did, or never began
}

// Total is the number of tasks counted.
func (c JobCounts) Total() int {
	return c.Pending + c.Starting + c.Running + c.Finished + c.Failed + c.Stopped
}

// Plus adds them up.
func (c JobCounts) Plus(d JobCounts) JobCounts {
	return JobCounts{Pending: c.Pending + d.Pending, Starting: c.Starting + d.Starting, Running: c.Running + d.Running,
		Finished: c.Finished + d.Finished, Failed: c.Failed + d.Failed, Stopped: c.Stopped + d.Stopped}
}

// Live is the number of tasks not ended.
func (c JobCounts) Live() int { return c.Pending + c.Starting + c.Running }

// JobSum is what of a job follows from its tasks.
type JobSum struct {
	State    JobState      `json:"state"`
	Counts   JobCounts     `json:"counts"`
	Made     int           `json:"made"`
	Skipped  int           `json:"skipped,omitempty"`
	Base     int           `json:"base,omitempty"`
	Avoid    []AvoidedNode `json:"avoid,omitempty"`
	Ended    time.Time     `json:"ended,omitzero"`
	ExitCode *int          `json:"exitCode,omitempty"`
}

// Sum is that of the job.
func (j *Job) Sum() JobSum {
	return JobSum{State: j.State, Counts: j.Counts, Made: j.Made, Skipped: j.Skipped, Base: j.Base, Avoid: j.Avoid, Ended: j.Ended, ExitCode: j.ExitCode}
}

// Take has the job be as that sum says.
func (j *Job) Take(s JobSum) {
	j.State, j.Counts, j.Made, j.Skipped, j.Base, j.Avoid, j.Ended, j.ExitCode = s.State, s.Counts, s.Made, s.Skipped, s.Base, s.Avoid, s.Ended, s.ExitCode
}

// SpecOf is the spec of that version, nil if it is forgotten.
func (j *Job) SpecOf(version int) *JobSpec {
	if version == j.Version {
		return j.Spec
	}
	for i := range j.History {
		if j.History[i].Version == version {
			return j.History[i].Spec
		}
	}
	return nil
}

// SpecFor is the spec of a task of the job, nil if its version is forgotten.
func (j *Job) SpecFor(t *Task) *JobSpec {
	if t.Framework == nil {
		return j.SpecOf(t.Version)
	}
	return t.Framework.Spec
}

// Unmade is how many tasks of a batch have not been made yet and will be.
func (j *Job) Unmade() int {
	if j.Stop {
		return 0
	}
	return j.left()
}

// NeverMade is how many tasks of a batch were stopped with it before they were
// made.
func (j *Job) NeverMade() int {
	if !j.Stop {
		return 0
	}
	return j.left()
}

func (j *Job) left() int {
	if j.Spec.Kind != KindBatch {
		return 0
	}
	return max(0, j.Spec.Tasks()-j.Made-j.Skipped)
}

// NeverBegan is the message of a task that was stopped while it waited.
const NeverBegan = "it was stopped before it started"

// UnmadeTask is the task that a batch will have at that index once it is
// placed; of one that was stopped, the task that it would have had.
func (j *Job) UnmadeTask(index int) *Task {
	t := &Task{ID: TaskID(j.ID, index), Job: j.ID, Index: index, Version: j.Version, Partition: j.Spec.Partition,
		Attempt: j.Base + 1, Resources: j.Spec.Need(), Created: j.Created}
	if j.Stop {
		t.State, t.Desired, t.Reason, t.Message, t.Ended = TaskKilled, DesiredStop, ReasonStopped, NeverBegan, j.Updated
	}
	return t
}
