package record

import (
	"fmt"
	"strings"
	"testing"
)

// What the checker has to refuse it refuses, and what was done to the node of the
// first run excuses a second one for as long as it lasts, and nothing else does.
// Each line of a script is a second after the one before, unless it says +N.
func TestHistories(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		wrong        string // a part of what is wrong; "" if nothing is
		excused      int
	}{
		{"one run", "start a.0 1 n1; end a.0 1 n1", "", 0},
		{"moved after it was stopped", "start a.0 1 n1; stopped a.0 1 n1; start a.0 2 n2; end a.0 2 n2", "", 0},
		{"beside itself, with nothing wrong", "start a.0 1 n1; start a.0 2 n2", "attempt 1 ran on n1", 0},
		{"to its end twice, with nothing wrong", "start a.0 1 n1; end a.0 1 n1; start a.0 2 n2", "attempt 1 had run to its end on n1", 0},
		{"an end without a start", "end a.0 1 n1", "never started there", 0},
		{"stopped before its first line", "stopped a.0 1 n1; start a.0 2 n1; end a.0 2 n1", "", 0},
		{"an end on another node", "start a.0 1 n1; end a.0 1 n2", "never started there", 0},
		{"an end twice", "start a.0 1 n1; end a.0 1 n1; end a.0 1 n1", "ended before", 0},
		{"the same attempt on two nodes", "start a.0 1 n1; start a.0 1 n2", "the same attempt was started on n1", 0},
		{"the same attempt again", "start a.0 1 n1; stopped a.0 1 n1; start a.0 1 n1", "the same attempt was started on n1", 0},

		{"daemon killed, batch beside itself", "start a.0 1 n1; away x n1; start a.0 2 n2", "n1, which was away for 1.0 s", 0},
		{"daemon killed, batch to its end twice", "start a.0 1 n1; away x n1; end a.0 1 n1; start a.0 2 n2", "had run to its end on n1", 0},
		{"daemon away for long, batch beside itself", "start a.0 1 n1; away x n1; +60 start a.0 2 n2", "attempt 1 ran on n1", 0},
		{"daemon killed, service beside itself", "start s.0 1 n1; away x n1; +14 start s.0 2 n2", "attempt 1 ran on n1", 0},
		{"daemon away for long, service moved", "start s.0 1 n1; away x n1; +16 start s.0 2 n2; stopped s.0 1 n1; sound x n1", "", 1},
		{"daemon was away for long, service beside itself", "start s.0 1 n1; away x n1; +16 sound x n1; start s.0 2 n2", "attempt 1 ran on n1", 0},

		{"moved from a cut node", "start a.0 1 n1; silent x n1; +3 start a.0 2 n2; stopped a.0 1 n1; sound x n1", "", 1},
		{"ended on a cut node", "start a.0 1 n1; silent x n1; end a.0 1 n1; start a.0 2 n2; end a.0 2 n2; sound x n1", "", 1},
		{"ended just before the cut", "start a.0 1 n1; end a.0 1 n1; +9 silent x n1; +3 start a.0 2 n2", "", 1},
		{"ended long before the cut", "start a.0 1 n1; end a.0 1 n1; +61 silent x n1; +3 start a.0 2 n2", "had run to its end on n1", 0},
		{"another node was cut off", "start a.0 1 n1; silent x n3; +3 start a.0 2 n2", "attempt 1 ran on n1", 0},
		{"the second run's node was cut off", "start a.0 1 n1; silent x n2; +3 start a.0 2 n2", "attempt 1 ran on n1", 0},
		{"after the cut", "start a.0 1 n1; silent x n1; sound x n1; start a.0 2 n2", "attempt 1 ran on n1", 0},
		{"cut twice, one is over", "start a.0 1 n1; silent x n1; silent y n1; sound x n1; start a.0 2 n2", "", 1},
		{"taken in again, and runs it beside another", "start a.0 1 n1; silent x n1; start a.0 2 n2; sound x n1", "n1 was taken in again, and still runs a.0", 1},
		{"killed without a word", "start a.0 1 n1; silent x n1; start a.0 2 n2; look x n1; sound x n1; end a.0 2 n2", "", 1},
		{"not killed", "start a.0 1 n1; silent x n1; start a.0 2 n2; look x n1; lives a.0 1 n1 x; sound x n1", "n1 was taken in again, and still runs a.0", 1},
		{"started after the look", "silent x n1; look x n1; start a.0 1 n1; sound x n1; start a.0 2 n2", "attempt 1 ran on n1", 0},
		{"killed, and said that it ended", "start a.0 1 n1; silent x n1; look x n1; sound x n1; end a.0 1 n1", "ended before", 0},
		{"taken in again, while the other is cut off", "start a.0 1 n1; silent x n1; start a.0 2 n2; silent y n2; sound x n1", "", 1},
		{"three runs after two cuts", "start a.0 1 n1; silent x n1; start a.0 2 n2; silent y n2; start a.0 3 n3; stopped a.0 1 n1; stopped a.0 2 n2; sound x n1; sound y n2; end a.0 3 n3", "", 3},

		{"power lost", "start a.0 1 n1; silent x n1; gone - n1; sound x n1; start a.0 2 n2", "", 0},
		{"power lost, and remembered", "start a.0 1 n1; silent x n1; gone - n1; start a.0 1 n1; sound x n1; end a.0 1 n1", "", 0},
		{"power lost with the end", "start a.0 1 n1; end a.0 1 n1; silent x n1; gone - n1; start a.0 1 n1", "", 0},
		{"power lost, moved, and remembered for good", "start a.0 1 n1; silent x n1; gone - n1; start a.0 2 n2; start a.0 1 n1; sound x n1", "n1 was taken in again, and still runs a.0", 1},
		{"started late on a cut node, after it had moved", "silent x n1; start a.0 2 n2; start a.0 1 n1; stopped a.0 1 n1; sound x n1; end a.0 2 n2", "", 1},
		{"started late on a node that was away", "away x n1; start a.0 2 n2; start a.0 1 n1", "attempt 2 ran on n2", 0},
		{"power of another node", "start a.0 1 n1; silent x n3; gone - n3; start a.0 2 n2", "attempt 1 ran on n1", 0},

		{"numbers of two clusters", "start a.0 1 n1; parted - -; start a.0 2 n2; start a.0 2 n3; stopped a.0 1 n1; end a.0 2 n2; end a.0 2 n3; whole - -; start a.0 3 n1", "", 3},
		{"a number again on the same node", "parted - -; start a.0 2 n2; start a.0 2 n2; whole - -; stopped a.0 2 n2; start a.0 3 n3", "", 1},
		{"numbers of one cluster again", "parted - -; whole - -; start a.0 2 n2; start a.0 2 n3", "the same attempt", 0},
		{"two clusters do not excuse what ended long before", "start a.0 1 n1; end a.0 1 n1; +61 parted - -; whole - -; start a.0 2 n2", "had run to its end", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := NewHistory(func(task string) bool { return task == "s.0" })
			var wrong []string
			for _, l := range parse(t, tt.script) {
				wrong = append(wrong, h.Add(l)...)
			}
			got := strings.Join(wrong, "\n")
			if tt.wrong == "" && got != "" || !strings.Contains(got, tt.wrong) || h.Excused != tt.excused {
				t.Errorf("wrong: %q, want %q; %d excused, want %d", got, tt.wrong, h.Excused, tt.excused)
			}
		})
	}
}

func parse(t *testing.T, script string) (out []Line) {
	now := 100.0
	for text := range strings.SplitSeq(script, "; ") {
		step := 1.0
		if _, err := fmt.Sscanf(text, "+%g", &step); err == nil {
			_, text, _ = strings.Cut(text, " ")
		}
		now += step
		f := strings.Fields(text)
		l := Line{What: f[0], Task: f[1], Code: "-", At: now, Node: f[len(f)-1]}
		if f[0] == "look" || f[0] == "sound" {
			l.Code = f[1]
		}
		if len(f) == 5 {
			l.Node, l.Code = f[3], f[4]
		}
		if len(f) >= 4 {
			if _, err := fmt.Sscan(f[2], &l.Attempt); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
		}
		out = append(out, l)
	}
	return out
}
