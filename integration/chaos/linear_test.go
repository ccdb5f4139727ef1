package main

import (
	"math"
	"testing"

	"github.com/anishathalye/porcupine"
)

// The models take what may happen, and refuse what must not.
func TestModels(t *testing.T) {
	op := func(from, to int64, c change, v verdict) porcupine.Operation {
		c.object = "x"
		return porcupine.Operation{Input: c, Output: v, Call: from, Return: to}
	}
	never := int64(math.MaxInt64)
	for _, tt := range []struct {
		name, kind string
		ops        []porcupine.Operation
		good       bool
	}{
		{"one of two wins", "partition", []porcupine.Operation{op(0, 5, change{after: 1}, done), op(1, 6, change{}, refused)}, true},
		{"both win", "partition", []porcupine.Operation{op(0, 5, change{after: 1}, done), op(1, 6, change{after: 1}, done)}, false},
		{"a write is lost", "partition", []porcupine.Operation{op(0, 1, change{after: 1}, done), op(2, 3, change{before: 1, after: 2}, done), op(4, 5, change{before: 1, after: 2}, done)}, false},
		{"an unsure one explains a refusal", "partition", []porcupine.Operation{op(0, never, change{}, unsure), op(4, 5, change{}, refused)}, true},
		{"an unsure one never happened", "partition", []porcupine.Operation{op(0, never, change{}, unsure), op(4, 5, change{after: 1}, done)}, true},
		{"nothing explains a refusal", "partition", []porcupine.Operation{op(4, 5, change{}, refused)}, false},
		{"a name given twice", "job", []porcupine.Operation{op(0, 1, change{}, done), op(2, 3, change{}, done)}, false},
		{"a name refused to its first taker", "job", []porcupine.Operation{op(0, 1, change{}, refused), op(2, 3, change{}, done)}, false},
		{"a name given and refused", "job", []porcupine.Operation{op(0, 3, change{}, done), op(1, 2, change{}, refused)}, true},
		{"a token revoked twice", "token", []porcupine.Operation{op(0, 1, change{}, done), op(2, 3, change{}, done)}, false},
		{"the last count is read", "scale", []porcupine.Operation{op(0, 1, change{count: 3}, done), op(2, 3, change{count: 3, read: true}, done)}, true},
		{"an older count is read", "scale", []porcupine.Operation{op(0, 1, change{count: 3}, done), op(2, 3, change{count: 4}, done), op(4, 5, change{count: 3, read: true}, done)}, false},
		{"an unsure count is read", "scale", []porcupine.Operation{op(0, 1, change{count: 3}, done), op(0, never, change{count: 9}, unsure), op(4, 5, change{count: 9, read: true}, done)}, true},
	} {
		if got := porcupine.CheckOperations(models[tt.kind], tt.ops); got != tt.good {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.good)
		}
	}
}
