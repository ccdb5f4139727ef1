package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api/docs"
	"github.com/mesita/mesita/integration/lab"
)

// notRun begins the first line of a block whose commands no test runs; the reason follows.
const notRun = "# Not run by the tests: "

// mostNotRun is how many such blocks all documents have together: each is a promise that
// nobody looks after.
const mostNotRun = 2

// The commands of the documents are run as they are written, each page by itself on three
// machines with nothing on them but the binary. The README has its readers start the
// cluster; the other pages are read by those who have one.
func TestDocuments(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages := []docs.Page{{Topic: "README", Text: string(b)}}
	for _, topic := range docs.Topics() {
		p, err := docs.Find(topic.Name)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, p)
	}
	left := 0
	for _, p := range pages {
		steps, skipped := stepsOf(t, p)
		if left += skipped; len(steps) == 0 {
			t.Errorf("%s: no command of it can be run", p.Topic)
			continue
		}
		t.Run(p.Topic, func(t *testing.T) {
			t.Parallel() // most of the time something is waited for
			r := newReader(t)
			if p.Topic != "README" {
				r.formed()
			}
			for _, s := range steps {
				r.do(s)
			}
		})
	}
	if left != mostNotRun {
		t.Errorf("%d blocks are not run, and %d in this test", left, mostNotRun)
	}
}

// step is what a reader types at once, and sees, or a file that is written.
type step struct {
	on    string // the machine
	typed string
	shown []string
	file  string // the name of a file with that text instead
}

var prompt = regexp.MustCompile(`^(oak|fir|elm)# (.*)$`)

// stepsOf are what a page has one do. Blocks of sh are typed at once, on oak; those of
// console say where, by their prompts, and what is shown; one of yaml is the file that its
// first line names. Whatever else is a command has no place in a page.
func stepsOf(t *testing.T, p docs.Page) (steps []step, skipped int) {
	t.Helper()
	for _, b := range docs.Blocks(p.Text) {
		if len(b.Lines) == 0 {
			t.Errorf("%s: a block is empty", p.Topic)
			continue
		}
		if reason, ok := strings.CutPrefix(b.Lines[0], notRun); ok && (b.Info == "sh" || b.Info == "console") {
			if len(reason) < len("no room") {
				t.Errorf("%s: %q says no reason", p.Topic, b.Lines[0])
			}
			skipped++
			continue
		}
		switch b.Info {
		case "sh":
			steps = append(steps, step{on: "oak", typed: strings.Join(b.Lines, "\n")})
		case "console":
			steps = append(steps, typedIn(t, p.Topic, b.Lines)...)
		case "yaml":
			name, ok := strings.CutPrefix(b.Lines[0], "# ")
			if !ok || !strings.HasSuffix(name, ".yaml") {
				t.Errorf("%s: a block of yaml does not begin with the name of its file: %q", p.Topic, b.Lines[0])
			}
			steps = append(steps, step{file: name, typed: strings.Join(b.Lines, "\n") + "\n"})
		case "text":
			for _, l := range b.Lines {
				if strings.HasPrefix(strings.TrimLeft(l, " $#"), "mesita ") {
					t.Errorf("%s: %q is a command in a block of text, which no test runs", p.Topic, l)
				}
			}
		case "go":
			inExample(t, p.Topic, b.Lines)
		default:
			t.Errorf("%s: a block is of %q: sh, console, yaml, go and text are known", p.Topic, b.Info)
		}
	}
	return steps, skipped
}

// inExample holds a block of Go to be of the program that a test runs.
func inExample(t *testing.T, topic string, lines []string) {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(lab.Root(t), exampleOfAFramework, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	lined := strings.ReplaceAll(strings.ReplaceAll(string(source), "\n\t", "\n"), "\t", "    ")
	if !strings.Contains(lined, "\n"+strings.Join(lines, "\n")+"\n") {
		t.Errorf("%s has Go that is not in %s, less one tab, with the others as four blanks", topic, exampleOfAFramework)
	}
}

func typedIn(t *testing.T, topic string, lines []string) (steps []step) {
	t.Helper()
	more := false
	for _, l := range lines {
		m := prompt.FindStringSubmatch(l)
		switch {
		case more:
			steps[len(steps)-1].typed += "\n" + l
		case m != nil:
			steps = append(steps, step{on: m[1], typed: m[2]})
		case len(steps) == 0:
			t.Errorf("%s: a block of console begins with %q, which is not a prompt", topic, l)
			return nil
		default:
			steps[len(steps)-1].shown = append(steps[len(steps)-1].shown, l)
		}
		more = (m != nil || more) && strings.HasSuffix(l, `\`)
	}
	return steps
}

// reader is somebody with three machines, who reads and types.
type reader struct {
	t        *testing.T
	l        *lab.Lab
	machines map[string]*lab.Machine
	token    string // a client's that was shown last
	cluster  string // its name, which pages call pine
}

func newReader(t *testing.T) *reader {
	t.Helper()
	l := newLab(t, 0)
	r := &reader{t: t, l: l, machines: map[string]*lab.Machine{}}
	for i, name := range []string{"oak", "fir", "elm"} {
		m := l.AddMachine(i+1, name, "10.0.0.1"+string(rune('1'+i)))
		r.machines[name] = m
		// The only thing that a server would not need: all three share one machine.
		r.must(name, "mesita node config set slice="+m.Slice()+" resources=cpus=4,mem=2GiB,disk=2GiB attr=zone="+name)
	}
	return r
}

// formed makes a cluster of the machines.
func (r *reader) formed() {
	r.t.Helper()
	r.must("oak", "mesita node start")
	for _, name := range []string{"fir", "elm"} {
		r.must(name, "mesita node join 10.0.0.11 --token "+r.joinToken())
	}
	r.l.AwaitVoters(3)
	r.cluster = strings.TrimSpace(r.must("oak", `mesita cluster show -o json | sed -n 's/^ *"name": "\(.*\)",$/\1/p'`))
}

func (r *reader) joinToken() string {
	r.t.Helper()
	return strings.TrimSpace(r.must("oak", "mesita node token --quiet"))
}

func (r *reader) must(on, script string) string {
	r.t.Helper()
	shown, code := r.machines[on].Type(r.t.Context(), script)
	if code != 0 {
		r.t.Fatalf("%s# %s\n%s\nexit code %d", on, script, shown, code)
	}
	return shown
}

var (
	joinTokens   = regexp.MustCompile(`mst1-\S*…`)
	clientTokens = regexp.MustCompile(`msc1-\S*…`)
	clientToken  = regexp.MustCompile(`msc1-[\w.-]+`)
)

// do does what a step says, and compares.
func (r *reader) do(s step) {
	r.t.Helper()
	if s.file != "" {
		if err := os.WriteFile(filepath.Join(r.machines["oak"].Work, s.file), []byte(s.typed), 0o644); err != nil {
			r.t.Fatal(err)
		}
		return
	}
	typed := s.typed
	if joinTokens.MatchString(typed) {
		typed = joinTokens.ReplaceAllString(typed, r.joinToken())
	}
	typed = clientTokens.ReplaceAllString(typed, r.token)
	typed = strings.ReplaceAll(typed, "pine", r.cluster)
	began := time.Now()
	shown, code := r.machines[s.on].Type(r.t.Context(), typed)
	r.t.Logf("%5.2f s  %s# %s\n%s", time.Since(began).Seconds(), s.on, typed, shown)
	if token := clientToken.FindString(shown); token != "" {
		r.token = token
	}
	fails := false
	for _, l := range s.shown {
		fails = fails || strings.HasPrefix(l, "error: ")
	}
	if fails != (code != 0) {
		r.t.Fatalf("%s# %s\n%s\nexit code %d", s.on, s.typed, shown, code)
	}
	page := strings.Split(strings.ReplaceAll(strings.Join(s.shown, "\n"), "pine", r.cluster), "\n")
	if missing := missing(page, strings.Split(shown, "\n")); missing != "" {
		r.t.Fatalf("%s# %s\nthe page shows\n  %s\nwhich is not there, or not in this order:\n%s", s.on, s.typed, missing, shown)
	}
}

// varies is what is otherwise each time, with what stands for it in a comparison. What a
// page leaves open beside that is … in it.
var varies = []struct {
	like *regexp.Regexp
	is   string
}{
	{regexp.MustCompile(`\b(mst1|msc1)-[\w.-]*…?`), "TOKEN"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d(T[\d:.]+Z)?`), "TIME"},
	{regexp.MustCompile(`\b10\.0\.0\.1[123]\b`), "ADDRESS"},
	{regexp.MustCompile(`\b(oak|fir|elm)\b`), "NODE"},
	{regexp.MustCompile(`\b2\d{4}\b`), "PORT"},
	{regexp.MustCompile(`\b\d+(\.\d+)? ?(ms|s|m|h|d)\b`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{12,}\b`), "ID"},
	{regexp.MustCompile(`\s+`), " "},
}

func alike(line string) string {
	for _, v := range varies {
		line = v.like.ReplaceAllString(line, v.is)
	}
	return strings.TrimSpace(line)
}

// missing is the first line of a page that is not among what is shown, behind those
// before it; "" if all are there.
func missing(page, shown []string) string {
	at := 0
	for _, want := range page {
		if want = alike(want); want == "" || want == "…" {
			continue
		}
		parts := strings.Split(want, "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		like := regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
		for at < len(shown) && !like.MatchString(alike(shown[at])) {
			at++
		}
		if at == len(shown) {
			return want
		}
		at++
	}
	return ""
}
