package record

import "fmt"

// Attempt is one run of a task.
type Attempt struct {
	Task   string
	Number int
}

// History follows the lines of a record.
type History struct {
	starts map[Attempt]string        // on which node
	Ends   map[Attempt]string        // with which code
	alive  map[string]map[int]string // attempts of a task that run, and where
	done   map[string]int            // times that a task ran to its end
	parted bool                      // for the rest of the record, attempts are no longer numbered once
	Twice  []string                  // what is right only if nodes could not be asked
}

// NewHistory is that of an empty record.
func NewHistory() *History {
	return &History{starts: map[Attempt]string{}, Ends: map[Attempt]string{}, alive: map[string]map[int]string{}, done: map[string]int{}}
}

// Add takes the next line, and returns what can never be right.
func (h *History) Add(l Line) (wrong []string) {
	key := Attempt{l.Task, l.Attempt}
	if h.parted {
		defer func() { h.Twice, wrong = append(h.Twice, wrong...), nil }()
	}
	switch l.What {
	case "parted":
		h.parted = true
	case "gone":
		for task, attempts := range h.alive {
			for a, node := range attempts {
				if node == l.Node {
					delete(attempts, a)
					delete(h.starts, Attempt{task, a}) // its node may not remember it, and starts it again
				}
			}
		}
	case "start":
		if node, ok := h.starts[key]; ok {
			wrong = append(wrong, fmt.Sprintf("attempt %d of %s started twice: on %s and on %s", l.Attempt, l.Task, node, l.Node))
		}
		for a, node := range h.alive[l.Task] {
			h.Twice = append(h.Twice, fmt.Sprintf("attempt %d of %s started on %s while attempt %d ran on %s", l.Attempt, l.Task, l.Node, a, node))
		}
		if h.done[l.Task] > 0 {
			h.Twice = append(h.Twice, fmt.Sprintf("attempt %d of %s started on %s after it had run to its end", l.Attempt, l.Task, l.Node))
		}
		h.starts[key] = l.Node
		if h.alive[l.Task] == nil {
			h.alive[l.Task] = map[int]string{}
		}
		h.alive[l.Task][l.Attempt] = l.Node
	case "end", "stopped":
		if _, ok := h.starts[key]; !ok {
			wrong = append(wrong, fmt.Sprintf("attempt %d of %s ended and never started", l.Attempt, l.Task))
		}
		if _, ok := h.Ends[key]; ok {
			wrong = append(wrong, fmt.Sprintf("attempt %d of %s ended twice", l.Attempt, l.Task))
		}
		h.Ends[key] = l.Code
		delete(h.alive[l.Task], l.Attempt)
		if l.What == "end" {
			h.done[l.Task]++
		}
	}
	return wrong
}
