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

// Result is what became of one command.
type Result struct {
	Value any
	Err   error // an *api.Error: refused, nothing changed
}

func conflict(format string, a ...any) *api.Error {
	return api.Errorf(api.CodeConflict, format, a...)
}
