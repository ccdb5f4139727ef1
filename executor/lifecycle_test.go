package executor

import (
	"slices"
	"testing"
)

// refused are the pairs that cannot meet: what is not asked for is not answered,
// and what has not ended is not acknowledged.
var refused = map[state][]event{
	noting:    {supplied, unsupplied, started, failed, spoiled, vanished, overdue, acknowledged},
	supplying: {written, unwritten, started, failed, spoiled, vanished, overdue, acknowledged},
	unsure:    {written, unwritten, supplied, unsupplied, started, failed, spoiled, vanished, overdue, acknowledged},
	held:      {written, unwritten, supplied, unsupplied, started, failed, spoiled, vanished, overdue, acknowledged},
	rebooted:  {written, unwritten, supplied, unsupplied, started, failed, spoiled, vanished, overdue, acknowledged},
	recalled:  {written, unwritten, supplied, unsupplied, started, failed, spoiled, vanished, overdue, acknowledged},
	starting:  {overdue, acknowledged},
	quitting:  {acknowledged},
	dying:     {acknowledged},
	over:      {acknowledged},
	running:   {overdue, acknowledged},
	stopping:  {acknowledged},
	killing:   {acknowledged},
	done:      {},
	acked:     {},
}

var endings = []effect{finish, exit, endEarly, lose}

func TestEachPairIsListedOrRefused(t *testing.T) {
	for s := range states {
		for ev := range events {
			step, ok := next(s, ev)
			if no, known := refused[s]; !known || ok == slices.Contains(no, ev) {
				t.Errorf("%s when %s: listed %v, refused %v", ev, s, ok, !ok)
				continue
			}
			if ok {
				checkStep(t, s, ev, step)
			}
		}
	}
}

// checkStep holds a step to what is true of all.
func checkStep(t *testing.T, from state, ev event, s step) {
	t.Helper()
	bad := func(what string) {
		t.Helper()
		t.Errorf("%s when %s leads to %s by %d: %s", ev, from, s.to, s.do, what)
	}
	ends := 0
	for _, do := range s.do {
		if slices.Contains(endings, do) {
			ends++
		}
	}
	switch now := !from.ended() && s.to.ended(); {
	case s.to >= states:
		bad("there is no such state")
	case from.ended() && s.to < from:
		bad("what has ended begins again")
	case now && ends != 1, !now && ends != 0:
		bad("an end is told once, and only as it comes")
	case slices.Contains(s.do, launch) != (s.to == starting && from != starting):
		bad("the keeper is asked to start what is starting, once")
	case slices.Contains(s.do, run) && s.to != running && s.to != stopping && s.to != killing && ev != started:
		bad("it runs, and is taken for something else")
	case slices.Contains(s.do, slay) != ((s.to == killing || s.to == dying) && (from != s.to || ev == overdue || ev == kill)):
		bad("what is being killed is killed again until it ends, and nothing else is")
	case from.hasProcess() && !s.to.hasProcess() && !s.to.ended():
		bad("a process is forgotten")
	}
	if (ev == stop || ev == kill) && slices.Contains([]state{noting, supplying, unsure, held, rebooted, starting, recalled, running}, s.to) {
		bad("it continues")
	}
	if ev == stop && s.to == killing && from != killing || ev == kill && s.to == stopping {
		bad("the wrong force is used")
	}
	if (ev == stop || ev == kill) && s.to != from && !slices.Contains([]state{quitting, stopping}, from) && !slices.Contains(s.do, blame) {
		bad("nobody will know why it ended")
	}
}

// Each state can come about, and each has a way to an end that the cluster
// knows.
func TestEveryAttemptCanEnd(t *testing.T) {
	reach := func(from ...state) map[state]bool {
		seen := map[state]bool{}
		for len(from) > 0 {
			s := from[0]
			from = from[1:]
			if seen[s] {
				continue
			}
			seen[s] = true
			for ev := range events {
				if step, ok := next(s, ev); ok {
					from = append(from, step.to)
				}
			}
		}
		return seen
	}
	all := reach(noting, unsure, recalled, rebooted) // how attempts begin, and what the journal tells
	for s := range states {
		if !all[s] {
			t.Errorf("%s cannot come about", s)
		}
		if !reach(s)[acked] {
			t.Errorf("%s never ends", s)
		}
	}
}

// What the cluster wants to end has ended once its process has, whatever comes
// in between and in whichever order.
func TestAStopIsNeverLost(t *testing.T) {
	for s := range states {
		for _, want := range []event{stop, kill} {
			step, ok := next(s, want)
			if !ok {
				t.Fatalf("%s when %s is refused", want, s)
			}
			seen := map[state]bool{}
			for todo := []state{step.to}; len(todo) > 0; {
				at := todo[0]
				todo = todo[1:]
				if seen[at] {
					continue
				}
				seen[at] = true
				if slices.Contains([]state{noting, supplying, unsure, held, rebooted, starting, recalled, running}, at) {
					t.Fatalf("%s when %s: it is %s later", want, s, at)
				}
				for ev := range events {
					if next, ok := next(at, ev); ok {
						todo = append(todo, next.to)
					}
				}
			}
		}
	}
}
