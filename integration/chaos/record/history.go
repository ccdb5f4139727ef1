package record

import (
	"fmt"
	"maps"
	"slices"
)

// Trouble is how a node was hit, as far as it matters to what it runs.
type Trouble string

const (
	// Away is a daemon that was killed, stopped or hangs, beside a keeper that
	// answers for its tasks: a service may move once the node was away for longer
	// than a stop may take, batch work may not.
	Away Trouble = "away"
	// Silent is a node that nobody can ask, as its kernel died or the network is
	// cut: what it ran may run again elsewhere.
	Silent Trouble = "silent"
)

const (
	// stopTakes is how long the cluster vouches for the services of a node that is
	// away, in seconds; half a second less, as it may have missed it first.
	stopTakes = 14.5
	// toldWithin is how long a task's end may take to reach the cluster while there
	// may be no quorum to take it, in seconds.
	toldWithin = 60
)

// Attempt is one run of a task.
type Attempt struct {
	Task   string
	Number int
}

// History follows the lines of a record, and finds what must not be in it: two
// runs of a task, but where what was done to the node of the one excuses the
// other.
type History struct {
	// Ends has the code with which each attempt ended.
	Ends map[Attempt]string
	// Excused counts the runs beside another or after it that were right.
	Excused int

	service func(task string) bool
	runs    map[string][]*oneRun           // by task; those that their node may have forgotten are not here
	spans   map[string]span                // that are not over
	missing map[string]map[Attempt]*oneRun // by span: who ran, and was not found yet
	parted  float64                        // since when there are two clusters; 0 if there is one
}

type oneRun struct {
	number  int
	node    string
	ended   float64 // 0: it runs
	stopped bool    // before it had run to its end
	untold  bool    // its end may not have reached the cluster
}

type span struct {
	how   Trouble
	node  string
	since float64
}

// NewHistory is that of an empty record. It is told which tasks are a service's.
func NewHistory(service func(task string) bool) *History {
	return &History{Ends: map[Attempt]string{}, service: service, runs: map[string][]*oneRun{}, spans: map[string]span{}, missing: map[string]map[Attempt]*oneRun{}}
}

// Add takes the next line, and returns what is wrong with it.
func (h *History) Add(l Line) []string {
	switch l.What {
	case "start":
		return h.start(l)
	case "end", "stopped":
		return h.end(l)
	case string(Away), string(Silent):
		h.trouble(l)
	case "look":
		h.look(l)
	case "lives":
		delete(h.missing[l.Code], Attempt{l.Task, l.Attempt})
	case "sound":
		delete(h.spans, l.Task)
		h.killed(l)
		return h.sound(l.Node)
	case "gone":
		h.forget(func(r *oneRun) bool { return r.node == l.Node && (r.ended == 0 || r.untold) })
	case "parted":
		h.parted = l.At
		h.doubt(func(*oneRun) bool { return true }, l.At)
	case "whole":
		since := h.parted
		h.parted = 0
		h.forget(func(r *oneRun) bool { return r.ended >= since })
	default:
		return []string{fmt.Sprintf("the record says %q, which is nothing", l.What)}
	}
	return nil
}

// start is right if the task runs nowhere and has not run to its end, or the
// cluster could not know better.
func (h *History) start(l Line) (wrong []string) {
	for _, r := range h.runs[l.Task] {
		how := ""
		switch {
		case r.number == l.Attempt:
			how = "the same attempt was started"
		case r.ended == 0:
			how = fmt.Sprintf("attempt %d ran", r.number)
		case !r.stopped:
			how = fmt.Sprintf("attempt %d had run to its end", r.number)
		default:
			continue
		}
		if h.excused(r, l) {
			h.Excused++
			if r.ended == 0 && r.number == l.Attempt && r.node == l.Node { // a node runs one of a number
				r.ended, r.stopped = l.At, true
			}
			continue
		}
		wrong = append(wrong, fmt.Sprintf("attempt %d of %s started on %s when %s on %s%s", l.Attempt, l.Task, l.Node, how, r.node, h.about(r.node, l.At)))
	}
	h.runs[l.Task] = append(h.runs[l.Task], &oneRun{number: l.Attempt, node: l.Node})
	return wrong
}

// excused reports whether the cluster could not know of a run, or the node that
// starts one could not know that it has moved.
func (h *History) excused(r *oneRun, l Line) bool {
	switch {
	case r.untold:
	case h.silent(l.Node) && l.Attempt < r.number:
	case r.ended > 0 && !r.stopped:
		return false
	case h.silent(r.node):
	case h.service(l.Task) && h.away(r.node, l.At):
	default:
		return false
	}
	return true
}

func (h *History) end(l Line) []string {
	h.Ends[Attempt{l.Task, l.Attempt}] = l.Code
	why := "never started there"
	if l.What == "stopped" {
		why = "" // it was told to before it had written that it had started
	}
	for _, r := range h.runs[l.Task] {
		switch {
		case r.number != l.Attempt || r.node != l.Node:
		case r.ended == 0:
			r.ended, r.stopped, r.untold = l.At, l.What == "stopped", h.silent(l.Node)
			return nil
		default:
			why = "ended before"
		}
	}
	if why == "" {
		return nil
	}
	return []string{fmt.Sprintf("attempt %d of %s ended on %s and %s", l.Attempt, l.Task, l.Node, why)}
}

func (h *History) trouble(l Line) {
	h.spans[l.Task] = span{Trouble(l.What), l.Node, l.At}
	if Trouble(l.What) == Silent {
		h.doubt(func(r *oneRun) bool { return r.node == l.Node }, l.At)
	}
}

// doubt marks the newest ends: they may not have reached the cluster.
func (h *History) doubt(which func(*oneRun) bool, now float64) {
	for _, all := range h.runs {
		for _, r := range all {
			if r.ended > 0 && now-r.ended < toldWithin && which(r) {
				r.untold = true
			}
		}
	}
}

// forget drops what a node, or a cluster, may not remember: it may start again,
// under the same number too.
func (h *History) forget(which func(*oneRun) bool) {
	for task, all := range h.runs {
		h.runs[task] = slices.DeleteFunc(all, which)
	}
}

// look begins a look at all that runs on a node.
func (h *History) look(l Line) {
	all := map[Attempt]*oneRun{}
	for task, runs := range h.runs {
		for _, r := range runs {
			if r.node == l.Node && r.ended == 0 {
				all[Attempt{task, r.number}] = r
			}
		}
	}
	h.missing[l.Code] = all
}

// killed ends what a look did not find.
func (h *History) killed(l Line) {
	for _, r := range h.missing[l.Code] {
		if r.ended == 0 {
			r.ended, r.stopped = l.At, true
		}
	}
	delete(h.missing, l.Code)
}

// sound finds what a node that was taken in again still runs beside another.
func (h *History) sound(node string) (wrong []string) {
	if h.silent(node) { // of another fault
		return nil
	}
	for _, task := range slices.Sorted(maps.Keys(h.runs)) {
		mine, others := 0, 0
		for _, r := range h.runs[task] {
			switch {
			case r.ended > 0 || h.silent(r.node):
			case r.node == node:
				mine++
			default:
				others++
			}
		}
		if mine > 0 && mine+others > 1 {
			wrong = append(wrong, fmt.Sprintf("%s was taken in again, and still runs %s beside another attempt", node, task))
		}
	}
	return wrong
}

func (h *History) silent(node string) bool {
	if h.parted > 0 {
		return true
	}
	for _, s := range h.spans {
		if s.node == node && s.how == Silent {
			return true
		}
	}
	return false
}

// away reports whether a node was away for longer than a stop may take.
func (h *History) away(node string, now float64) bool {
	for _, s := range h.spans {
		if s.node == node && now-s.since > stopTakes {
			return true
		}
	}
	return false
}

// about is what was wrong with a node and excuses nothing.
func (h *History) about(node string, now float64) (out string) {
	for _, s := range h.spans {
		if s.node == node {
			out += fmt.Sprintf(", which was %s for %.1f s", s.how, now-s.since)
		}
	}
	return out
}
