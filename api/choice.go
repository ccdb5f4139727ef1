package api

import (
	"iter"
	"strings"
)

// Choice is one of the words that a setting takes. Flags, checks, OpenAPI, comparisons
// and tests list them from here.
type Choice[T ~string] struct {
	Name T
	Help string // what it means, in a few words
}

// Words are the names of choices, as a sentence lists them.
func Words[T ~string](all []T) string {
	names := make([]string, len(all))
	for i, n := range all {
		names[i] = string(n)
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// Names are those of choices, in their order.
func Names[T ~string](all []Choice[T]) []T {
	names := make([]T, len(all))
	for i, c := range all {
		names[i] = c.Name
	}
	return names
}

// Policies are the orders that a queue may have.
func Policies() []Choice[Policy] {
	return []Choice[Policy]{
		{PolicyFIFO, "first come, first served"},
		{PolicySJF, "the shortest job first, with aging"},
		{PolicySRTF, "the shortest remaining time first, with aging, preemptive"},
		{PolicyPriority, "the highest priority first, with aging, preemptive"},
		{PolicyFair, "the user with the least decayed use first"},
	}
}

// Placements are the ways to choose a node.
func Placements() []Choice[Placement] {
	return []Choice[Placement]{
		{PlaceSpread, "over nodes (and an attribute), then the least loaded"},
		{PlaceClosest, "the best fit"},
		{PlaceWeighted, "drawn by capacity"},
		{PlacePack, "the whole backlog at once"},
	}
}

// Preempts are the ways to take back what was borrowed.
func Preempts() []Choice[Preempt] {
	return []Choice[Preempt]{
		{PreemptKill, "stop it, and start it again when there is room"},
		{PreemptFreeze, "stop its processes in place: CPU is free, memory is kept"},
		{PreemptNever, "let it run"},
	}
}

// Choices yields what the setting may be, and what that means.
func (Policy) Choices() iter.Seq2[string, string] { return pairs(Policies()) }

// Choices yields what the setting may be, and what that means.
func (Placement) Choices() iter.Seq2[string, string] { return pairs(Placements()) }

// Choices yields what the setting may be, and what that means.
func (Preempt) Choices() iter.Seq2[string, string] { return pairs(Preempts()) }

func pairs[T ~string](all []Choice[T]) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, c := range all {
			if !yield(string(c.Name), c.Help) {
				return
			}
		}
	}
}
