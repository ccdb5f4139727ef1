package api

import "encoding/json"

// Assignment is a task placed on a node, with what is needed to run it.
type Assignment struct {
	Task     *Task
	Spec     *TaskSpec
	Restarts bool // it is a service's: when it ends, or its node was rebooted, it is started again
	// Submission is the one that made the job, which its name is not for ever; 0: a
	// program of before told it, or a journal.
	Submission uint64
}

// Assigned is the assignment of a task by the version of its job's spec.
func Assigned(t *Task, s *JobSpec) Assignment {
	return Assignment{Task: t, Spec: &s.TaskSpec, Restarts: s.Kind == KindService}
}

// NodeSpec is how a spec is told to nodes and kept by them: as that of a job, of
// which programs of level 1 and below need no more than this.
type NodeSpec struct {
	Kind Kind `json:"kind"`
	*TaskSpec
}

// NodeSpec is the spec as it is told and kept.
func (a Assignment) NodeSpec() NodeSpec {
	kind := KindBatch
	if a.Restarts {
		kind = KindService
	}
	return NodeSpec{kind, a.Spec}
}

// On is the assignment of a task by this spec.
func (s NodeSpec) On(t *Task) Assignment {
	return Assignment{Task: t, Spec: s.TaskSpec, Restarts: s.Kind == KindService}
}

type assignment struct {
	Task *Task     `json:"task"`
	Spec *NodeSpec `json:"spec"`

	Submission uint64 `json:"submission,omitempty"`
}

// Wire is an example of what MarshalJSON writes, for descriptions.
func (Assignment) Wire() any { return assignment{} }

// MarshalJSON writes {"task": …, "spec": …, "submission": …}.
func (a Assignment) MarshalJSON() ([]byte, error) {
	w := assignment{Task: a.Task, Submission: a.Submission}
	if a.Spec != nil {
		s := a.NodeSpec()
		w.Spec = &s
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON writes, or the job's spec whole.
func (a *Assignment) UnmarshalJSON(b []byte) error {
	var w assignment
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*a = Assignment{Task: w.Task}
	if w.Spec != nil && w.Spec.TaskSpec != nil {
		*a = w.Spec.On(w.Task)
		a.Submission = w.Submission
	}
	return nil
}
