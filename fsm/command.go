package fsm

import (
	"time"

	"github.com/mesita/mesita/api"
)

// Command is one change of the state. Its apply re-checks every precondition:
// a command decided on an old view is refused with an *api.Error and changes
// nothing.
type Command interface {
	apply(tx *tx) (any, error)
	meta() Meta
}

// Meta is what every command carries: when it was proposed, and by whom.
type Meta struct {
	At    time.Time `json:"at"`
	Actor string    `json:"actor,omitempty"`
}

func (m Meta) meta() Meta { return m }

// kinds maps the number in the log to the command. Append only; never reuse.
var kinds = []func() Command{
	1:  func() Command { return new(ClusterInit) },
	2:  func() Command { return new(NodeJoin) },
	3:  func() Command { return new(NodeHello) },
	4:  func() Command { return new(NodeState) },
	5:  func() Command { return new(NodeDrain) },
	6:  func() Command { return new(NodeRemove) },
	7:  func() Command { return new(JobCreate) },
	8:  func() Command { return new(JobUpdate) },
	9:  func() Command { return new(JobScale) },
	10: func() Command { return new(JobStop) },
	11: func() Command { return new(JobRemove) },
	12: func() Command { return new(TaskCreate) },
	13: func() Command { return new(TaskPlace) },
	14: func() Command { return new(TaskReport) },
	15: func() Command { return new(TaskStop) },
	16: func() Command { return new(PartitionPut) },
	17: func() Command { return new(OfferMake) },
	18: func() Command { return new(OfferRemove) },
	19: func() Command { return new(TokenCreate) },
	20: func() Command { return new(TokenRevoke) },
	21: func() Command { return new(BlobPut) },
	22: func() Command { return new(BlobRemove) },
	23: func() Command { return new(PartitionRemove) },
	24: func() Command { return new(PartitionAdjust) },
	25: func() Command { return new(TaskPreempt) },
	26: func() Command { return new(TaskThaw) },
	27: func() Command { return new(ClusterRecovered) },
}

func kindOf(c Command) int {
	switch c.(type) {
	case *ClusterInit:
		return 1
	case *NodeJoin:
		return 2
	case *NodeHello:
		return 3
	case *NodeState:
		return 4
	case *NodeDrain:
		return 5
	case *NodeRemove:
		return 6
	case *JobCreate:
		return 7
	case *JobUpdate:
		return 8
	case *JobScale:
		return 9
	case *JobStop:
		return 10
	case *JobRemove:
		return 11
	case *TaskCreate:
		return 12
	case *TaskPlace:
		return 13
	case *TaskReport:
		return 14
	case *TaskStop:
		return 15
	case *PartitionPut:
		return 16
	case *OfferMake:
		return 17
	case *OfferRemove:
		return 18
	case *TokenCreate:
		return 19
	case *TokenRevoke:
		return 20
	case *BlobPut:
		return 21
	case *BlobRemove:
		return 22
	case *PartitionRemove:
		return 23
	case *PartitionAdjust:
		return 24
	case *TaskPreempt:
		return 25
	case *TaskThaw:
		return 26
	case *ClusterRecovered:
		return 27
	}
	panic("fsm: command without a kind: add it to kinds and kindOf")
}

// Result is what became of one command.
type Result struct {
	Value any
	Err   error // an *api.Error: refused, nothing changed
}

func notFound(what, id string) *api.Error {
	return api.Errorf(api.CodeNotFound, "no %s %q", what, id)
}

func conflict(format string, a ...any) *api.Error {
	return api.Errorf(api.CodeConflict, format, a...)
}
