package record

import "testing"

// What the checker has to find, it finds: a record in which something happened
// that must not is told apart from one in which all is well.
func TestCheckerFinds(t *testing.T) {
	start := func(attempt int, node string) Line { return Line{"start", "a.0", attempt, node, "-"} }
	end := func(attempt int, node string) Line { return Line{"end", "a.0", attempt, node, "0"} }
	for _, tt := range []struct {
		name         string
		lines        []Line
		wrong, twice int
	}{
		{"one run", []Line{start(1, "n1"), end(1, "n1")}, 0, 0},
		{"moved after its node lost its power", []Line{start(1, "n1"), {What: "gone", Node: "n1"}, start(2, "n2"), end(2, "n2")}, 0, 0},
		{"moved after it was stopped", []Line{start(1, "n1"), {"stopped", "a.0", 1, "n1", "143"}, start(2, "n2"), end(2, "n2")}, 0, 0},
		{"again after a power cut", []Line{start(1, "n1"), {What: "gone", Node: "n1"}, start(1, "n1"), end(1, "n1")}, 0, 0},
		{"beside itself", []Line{start(1, "n1"), {What: "gone", Node: "n3"}, start(2, "n2"), end(2, "n2"), end(1, "n1")}, 0, 1},
		{"to its end twice", []Line{start(1, "n1"), end(1, "n1"), start(2, "n2"), end(2, "n2")}, 0, 1},
		{"the same attempt on two nodes", []Line{start(1, "n1"), start(1, "n2"), end(1, "n1"), end(1, "n2")}, 2, 1},
		{"the same attempt in two clusters", []Line{{What: "parted"}, start(1, "n1"), start(1, "n2"), end(1, "n1"), end(1, "n2")}, 0, 3},
		{"an end without a start", []Line{end(1, "n1")}, 1, 0},
	} {
		h := NewHistory()
		wrong := 0
		for _, l := range tt.lines {
			wrong += len(h.Add(l))
		}
		if wrong != tt.wrong || len(h.Twice) != tt.twice {
			t.Errorf("%s: %d wrong and %d twice (%v), want %d and %d", tt.name, wrong, len(h.Twice), h.Twice, tt.wrong, tt.twice)
		}
	}
}
