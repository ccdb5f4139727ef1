package linear

import (
	"math"
	"testing"

	"github.com/anishathalye/porcupine"
)

// The models take what may happen, and refuse what must not.
func TestModels(t *testing.T) {
	op := func(from, to int64, c Change, v Verdict) porcupine.Operation {
		c.Object = "x"
		return porcupine.Operation{Input: c, Output: v, Call: from, Return: to}
	}
	never := int64(math.MaxInt64)
	for _, tt := range []struct {
		name, kind string
		ops        []porcupine.Operation
		good       bool
	}{
		{"one of two wins", "partition", []porcupine.Operation{op(0, 5, Change{After: 1}, Done), op(1, 6, Change{}, Refused)}, true},
		{"both win", "partition", []porcupine.Operation{op(0, 5, Change{After: 1}, Done), op(1, 6, Change{After: 1}, Done)}, false},
		{"a write is lost", "partition", []porcupine.Operation{op(0, 1, Change{After: 1}, Done), op(2, 3, Change{Before: 1, After: 2}, Done), op(4, 5, Change{Before: 1, After: 2}, Done)}, false},
		{"an unsure one explains a refusal", "partition", []porcupine.Operation{op(0, never, Change{}, Unsure), op(4, 5, Change{}, Refused)}, true},
		{"an unsure one never happened", "partition", []porcupine.Operation{op(0, never, Change{}, Unsure), op(4, 5, Change{After: 1}, Done)}, true},
		{"nothing explains a refusal", "partition", []porcupine.Operation{op(4, 5, Change{}, Refused)}, false},
		{"a name given twice", "job", []porcupine.Operation{op(0, 1, Change{}, Done), op(2, 3, Change{}, Done)}, false},
		{"a name refused to its first taker", "job", []porcupine.Operation{op(0, 1, Change{}, Refused), op(2, 3, Change{}, Done)}, false},
		{"a name given and refused", "job", []porcupine.Operation{op(0, 3, Change{}, Done), op(1, 2, Change{}, Refused)}, true},
		{"a token revoked twice", "token", []porcupine.Operation{op(0, 1, Change{}, Done), op(2, 3, Change{}, Done)}, false},
		{"the last count is read", "scale", []porcupine.Operation{op(0, 1, Change{Count: 3}, Done), op(2, 3, Change{Count: 3, Read: true}, Done)}, true},
		{"an older count is read", "scale", []porcupine.Operation{op(0, 1, Change{Count: 3}, Done), op(2, 3, Change{Count: 4}, Done), op(4, 5, Change{Count: 3, Read: true}, Done)}, false},
		{"an unsure count is read", "scale", []porcupine.Operation{op(0, 1, Change{Count: 3}, Done), op(0, never, Change{Count: 9}, Unsure), op(4, 5, Change{Count: 9, Read: true}, Done)}, true},
	} {
		if got := porcupine.CheckOperations(models[tt.kind], tt.ops); got != tt.good {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.good)
		}
	}
}
