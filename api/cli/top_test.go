package cli

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// On a terminal top continues until it is left, and keys sort; what was there comes back.
func TestTopOnATerminal(t *testing.T) {
	withFake(t)
	side, main := ptyOf(t)
	done := make(chan int, 1)
	go func() {
		done <- Main(t.Context(), []string{"mesita", "top", "--interval", "1h"}, side, side, side)
	}()
	read := func(text string) string {
		var all strings.Builder
		for b := make([]byte, 4096); !strings.Contains(all.String(), text); {
			n, err := main.Read(b)
			if err != nil {
				t.Fatalf("%q, and then %v", all.String(), err)
			}
			all.Write(b[:n])
		}
		return all.String()
	}
	press := func(key string) {
		if _, err := main.WriteString(key); err != nil {
			t.Fatal(err)
		}
	}
	if first := read("web.0"); !strings.HasPrefix(first, "\x1b[?1049h") || !strings.Contains(first, "in use   cpus ") || !strings.Contains(first, "web.1") {
		t.Errorf("%q", first)
	}
	press("m")
	if again := read("web.1"); !strings.Contains(again, "web.0") {
		t.Errorf("by memory: %q", again)
	}
	press("q")
	if code, left := <-done, read("\x1b[?1049l"); code != 0 || !strings.Contains(left, "\x1b[?25h") {
		t.Errorf("code %d, %q", code, left)
	}
}

func TestTopKeysAndRows(t *testing.T) {
	u := &usageLooks{}
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		u.rows = append(u.rows, &usageRow{TaskStats: api.TaskStats{Task: name, Mem: api.Bytes(i % 3), Node: "n" + string('z'-rune(i))}, Cores: float64(-i)})
	}
	v := topView{u: u, page: 2}
	order := func() (out string) {
		for _, r := range u.rows {
			out += r.Task
		}
		return out
	}
	for _, c := range []struct{ key, want string }{{"m", "cbead"}, {"m", "adbec"}, {"m", "cbead"}, {"n", "abcde"}, {"n", "edcba"}, {"c", "abcde"}, {"x", "abcde"}} {
		if !v.press(c.key) || order() != c.want {
			t.Errorf("%s: %s, want %s", c.key, order(), c.want)
		}
	}
	if v.from = 1; v.press("\x1b[6~") && v.from != 3 {
		t.Errorf("a page further: %d", v.from)
	}
	for _, key := range []string{"q", "\x03"} {
		if v.press(key) {
			t.Errorf("%q does not leave", key)
		}
	}
	seen := map[byte]bool{}
	for i := range topOrders {
		o := topOrders[i]
		if o.key != 0 && (seen[o.key] || strings.IndexByte("qjk ", o.key) >= 0) {
			t.Errorf("the key %c says two things", o.key)
		}
		seen[o.key] = true
		got, err := topOrderOf("-" + o.name)
		if rows := slices.Clone(u.rows); err != nil || !slices.IsSortedFunc(sorted(rows, got), func(x, y *usageRow) int { return cmp.Or(o.less(y, x), cmp.Compare(x.Task, y.Task)) }) {
			t.Errorf("-%s: %v", o.name, err)
		}
	}
}

func sorted(rows []*usageRow, by topOrder) []*usageRow {
	slices.SortFunc(rows, by.compare)
	return rows
}
