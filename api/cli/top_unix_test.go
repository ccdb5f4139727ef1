//go:build unix

package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
	"golang.org/x/sys/unix"
)

// seat is that of a person at a terminal, before whom a command runs.
type seat struct {
	t    *testing.T
	main *os.File
	code chan int
}

func atTerminal(t *testing.T, args ...string) seat {
	side, main := ptyOf(t)
	k := seat{t, main, make(chan int, 1)}
	go func() { k.code <- Main(t.Context(), append([]string{"mesita"}, args...), side, side, side) }()
	return k
}

// read is what is shown until that text is.
func (k seat) read(text string) string {
	k.t.Helper()
	var all strings.Builder
	for b := make([]byte, 4096); !strings.Contains(all.String(), text); {
		n, err := k.main.Read(b)
		if err != nil {
			k.t.Fatalf("%q, and then %v", all.String(), err)
		}
		all.Write(b[:n])
	}
	return all.String()
}

func (k seat) press(keys string) {
	k.t.Helper()
	if _, err := k.main.WriteString(keys); err != nil {
		k.t.Fatal(err)
	}
}

// leaves demands that the screen comes back, and success.
func (k seat) leaves() {
	k.t.Helper()
	if code, left := <-k.code, k.read("\x1b[?1049l"); code != 0 || !strings.Contains(left, "\x1b[?25h") {
		k.t.Errorf("code %d, %q", code, left)
	}
}

// On a terminal top continues until it is left, and keys sort; what was there comes back.
func TestTopOnATerminal(t *testing.T) {
	f := withFake(t)
	f.silent = true
	k := atTerminal(t, "top", "--interval", "1h")
	if first := k.read("web.0"); !strings.HasPrefix(first, "\x1b[?1049h") || !strings.Contains(first, "in use   cpus ") || !strings.Contains(first, "web.1") ||
		!strings.Contains(first, "left out elm: is down\r\n") {
		t.Errorf("%q", first)
	}
	k.press("m")
	if again := k.read("web.1"); !strings.Contains(again, "web.0") {
		t.Errorf("by memory: %q", again)
	}
	k.press("jq")
	k.leaves()
}

// A cluster that does not answer keeps nobody in top, neither at first nor later.
func TestTopIsLeftWhileTheClusterHangs(t *testing.T) {
	f := withFake(t)
	hang := func(hangs chan struct{}) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.hangs = hangs
	}
	for _, key := range []string{"q", "\x03"} {
		hangs := make(chan struct{})
		hang(hangs)
		k := atTerminal(t, "top", "--interval", "0s")
		<-hangs
		k.press(key)
		k.leaves()
		hang(nil)
		k = atTerminal(t, "top", "--interval", "0s")
		k.read("web.0")
		hang(hangs)
		<-hangs
		k.press("m")
		k.read("THROTTLED\r\n\x1b[Kweb.0") // has the most memory
		k.press(key)
		k.leaves()
	}
}

// Keys are the same however what is typed is cut into reads.
func TestKeysAreToldApart(t *testing.T) {
	for typed, want := range map[string][]string{
		"qq": {"q", "q"}, "mq": {"m", "q"}, "jjj": {"j", "j", "j"}, "\x1b[A\x1b[6~\x1bOBq": {"\x1b[A", "\x1b[6~", "\x1bOB", "q"}, "\x1b[1;5Aj": {"\x1b[1;5A", "j"},
		"\x1bq": {"\x1b", "q"}, "\x1b\x1b[A": {"\x1b", "\x1b[A"}, "\x1b[\x03": {"\x1b[", "\x03"}, "ü": {"\xc3", "\xbc"},
		"\x1b[" + strings.Repeat("1", 300) + "q": append([]string{"\x1b[" + strings.Repeat("1", maxKey)}, slices.Repeat([]string{"1"}, 300-maxKey)...),
	} {
		if len(typed) > 300 {
			want = append(want, "q")
		}
		for name, in := range map[string]io.Reader{"at once": strings.NewReader(typed), "byte by byte": iotest.OneByteReader(strings.NewReader(typed)), "by halves": iotest.HalfReader(strings.NewReader(typed))} {
			keys := make(chan string, len(typed))
			readKeys(t.Context(), in, keys)
			close(keys)
			if got := slices.Collect(func(yield func(string) bool) {
				for k := range keys {
					yield(k)
				}
			}); !slices.Equal(got, want) {
				t.Errorf("%q %s: %q, want %q", typed, name, got, want)
			}
		}
	}
}

// What fits a terminal is shown, and no line is longer than it is wide, with all columns
// and long names as well.
func TestTopFitsTheTerminal(t *testing.T) {
	side, main := ptyOf(t)
	u := &usageLooks{silent: []client.SilentNode{{Node: "elm", Reason: strings.Repeat("no answer ", 20)}}}
	for i := range 50 {
		u.rows = append(u.rows, &usageRow{TaskStats: api.TaskStats{Task: fmt.Sprint(strings.Repeat("web-", 20), i), Pressure: &api.Pressure{CPU: 3}}})
	}
	for _, size := range []unix.Winsize{{Col: 80, Row: 24}, {Col: 200, Row: 60}, {Col: 40, Row: 6}, {Col: 20, Row: 2}} {
		if err := unix.IoctlSetWinsize(int(side.Fd()), unix.TIOCSWINSZ, &size); err != nil {
			t.Fatal(err)
		}
		for _, wide := range []bool{false, true} {
			k := seat{t: t, main: main}
			go func() {
				v := topView{u: u, wide: wide, heads: true}
				if err := v.show(side); err != nil {
					t.Error(err)
				}
				_, _ = side.WriteString("end") // the test waits for it
			}()
			text := escapes.ReplaceAllString(k.read("end"), "")
			lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(strings.TrimSuffix(text, "end"), "\r\r", "\r"), "\r\n"), "\r\n")
			if want := min(int(size.Row), 54); len(lines) != want || !strings.HasPrefix(lines[0], "in use ") {
				t.Errorf("%v, wide %t: %d lines, want %d: %q", size, wide, len(lines), want, lines)
			}
			for _, l := range lines {
				if utf8.RuneCountInString(l) > int(size.Col) {
					t.Errorf("%v, wide %t: %q", size, wide, l)
				}
			}
		}
	}
}

// What tasks use is reckoned by when their node looked, however long others kept the
// answer; of an older node by when it was asked.
func TestUseIsByTheTimeOfTheNode(t *testing.T) {
	begin := time.Now()
	at := func(asked, sampled, used time.Duration) look {
		return look{asked: begin.Add(asked), stats: []api.TaskStats{{Task: "a", Node: "oak", Sampled: sampled, CPUTime: used}}}
	}
	const s = time.Second
	silent := look{asked: begin.Add(9 * s), silent: []client.SilentNode{{Node: "oak", Reason: "is down"}}}
	again := at(2*s, 2*s, 10*s)
	again.stats[0].Attempt = 2
	for name, c := range map[string]struct {
		looks []look
		want  float64
	}{
		"the answer took long":          {[]look{at(0, 100*s, 5*s), at(s/5, 102*s, 6*s)}, 0.5},
		"the node waited for a lock":    {[]look{at(0, 108*s, 5*s), at(10*s, 110*s, 6*s)}, 0.5},
		"an older node":                 {[]look{at(0, 0, 5*s), at(2*s, 0, 6*s)}, 0.5},
		"an older leader at first":      {[]look{at(0, 0, 5*s), at(2*s, 102*s, 6*s)}, 0.5},
		"silent meanwhile":              {[]look{at(0, 100*s, 5*s), silent, silent, at(20*s, 110*s, 10*s)}, 0.5},
		"another attempt":               {[]look{at(0, s, 5*s), again}, 0},
		"the same answer twice":         {[]look{at(0, s, 5*s), at(s, s, 5*s)}, 0},
		"what is counted went backward": {[]look{at(0, s, 5*s), at(s, 2*s, 4*s)}, 0},
	} {
		var u usageLooks
		for _, l := range c.looks {
			u.take(l)
		}
		if len(u.rows) != 1 || u.rows[0].Cores != c.want {
			t.Errorf("%s: %v cores, want %v", name, u.rows[0].Cores, c.want)
		}
	}
}

// Whose tasks are not counted is told beside each form.
func TestTopTellsWhoIsLeftOut(t *testing.T) {
	f := withFake(t)
	f.silent = true
	for _, form := range []string{"table", "wide", "json", "name"} {
		if r := run(t.Context(), "top", "--once", "-o", form); r.code != 0 || strings.Count(r.err, "! node elm is left out: is down\n") != 1 {
			t.Errorf("%s: %+v", form, r)
		}
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
