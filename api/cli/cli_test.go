package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/line"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

// result is what one run of the command line gave.
type result struct {
	code     int
	out, err string
}

// buffer may be written while it is read.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func run(ctx context.Context, args ...string) result {
	var out, errs buffer
	code := Main(ctx, append([]string{"mesita"}, args...), strings.NewReader(""), &out, &errs)
	return result{code, out.String(), errs.String()}
}

func withFake(t *testing.T) *fake {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	f, err := newFake(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.http.CloseClientConnections()
		f.http.Close()
	})
	t.Setenv("MESITA_SOCKET", socket)
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	return f
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	var paths [][]string
	var collect func(cs []*cli.Command, path []string)
	collect = func(cs []*cli.Command, path []string) {
		for _, c := range cs {
			at := append(path[:len(path):len(path)], c.Name)
			paths = append(paths, at)
			collect(c.Subcommands, at)
		}
	}
	collect((&app{}).root().Commands, nil)
	for _, c := range (&app{}).root().Commands {
		if c.Category == "" {
			t.Errorf("%s is in no group", c.Name)
		}
	}
	if len(paths) < 40 {
		t.Fatalf("only %d commands", len(paths))
	}
	for _, path := range append(paths, nil) {
		r := run(t.Context(), append(path, "--help")...)
		name := strings.Join(append([]string{"mesita"}, path...), " ")
		_, examples, ok := strings.Cut(r.out, "Examples:\n  "+name)
		if len(path) == 0 {
			_, examples, ok = strings.Cut(r.out, "Examples:\n  mesita")
		}
		if r.code != 0 || r.err != "" || !ok || examples == "" || !strings.HasPrefix(r.out, name+": ") || !strings.Contains(r.out, "Usage:  "+name) {
			t.Errorf("%s --help: code %d, %q\n%s", name, r.code, r.err, r.out)
		}
		for l := range strings.Lines(r.out) {
			if utf8.RuneCountInString(strings.TrimSuffix(l, "\n")) > 80 {
				t.Errorf("%s --help has a line of %d characters: %s", name, len(l), l)
			}
		}
	}
}

// The examples of the help are commands that the parser takes.
func TestExamplesParse(t *testing.T) {
	root := (&app{}).root()
	walk(root.Commands, func(c *cli.Command) {
		_, text, _ := strings.Cut(c.Description, "Examples:\n")
		for l := range strings.Lines(text) {
			l, _, _ = strings.Cut(strings.TrimSpace(l), " &&")
			l, _, _ = strings.Cut(l, " > ")
			l, _, _ = strings.Cut(l, " <")
			if before, after, ok := strings.Cut(l, "| "); ok && strings.HasPrefix(after, "mesita ") {
				l = after
			} else if ok {
				l = before
			}
			words := strings.Fields(l)
			if len(words) == 0 || words[0] != "mesita" {
				t.Errorf("%s: example %q", c.Name, l)
				continue
			}
			if p, err := line.Parse(root, words[1:]); err != nil || p.Command == nil {
				t.Errorf("%s: example %q: %v", c.Name, l, err)
			}
		}
	})
}

// What a message tells to type is a command that there is, with flags that it has; what
// it leaves to the reader may be missing.
func TestAdviceParses(t *testing.T) {
	root, advice, verb := (&app{}).root(), regexp.MustCompile("`mesita ([^`\n]+)`"), regexp.MustCompile(`%[a-z]`)
	n := 0
	for _, dir := range []string{"api", "cluster", "executor", "fsm", "gossip", "isolation"} {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			src, err := os.ReadFile(path)
			for _, found := range advice.FindAllStringSubmatch(string(src), -1) {
				said, _, open := strings.Cut(found[1], "%")
				if words := strings.Fields(said); open && len(words) < 2 && (len(words) == 0 || len(root.Command(words[0]).Subcommands) > 0) {
					continue // which command it is is said elsewhere
				}
				n++
				typed := strings.ReplaceAll(verb.ReplaceAllString(found[1], "x"), "help TOPIC", "help jobs")
				p, err := line.Parse(root, strings.Fields(typed))
				if left := err != nil && (strings.Contains(err.Error(), "is missing") || strings.Contains(err.Error(), "needs a value")); !left && (err != nil || p.Command == nil) {
					t.Errorf("%s: mesita %s: %v", path, found[1], err)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n < 100 {
		t.Fatalf("only %d were found", n)
	}
}

func TestFlagsAfterArguments(t *testing.T) {
	for in, want := range map[string]string{
		"run web -n 3 -- ./server -n 4":         "run count=3 | web ./server -n 4",
		"logs web -f":                           "logs follow=true | web",
		"ps -o json":                            "ps output=json |",
		"ps web -aq":                            "ps all=true quiet=true | web",
		"node drain fir --deadline=10m":         "drain deadline=10m0s | fir",
		"--addr a:1 ps --socket=/s":             "ps addr=a:1 socket=/s |",
		"--addr a:1 --addr b:1 ps":              "ps addr=b:1 |",
		"scale web -1":                          "scale | web -1",
		"apply -f -":                            "apply file=[-] |",
		"apply -f a,b --file c":                 "apply file=[a,b c] |",
		"exec web -T -- sh -c 'x'":              "exec no-tty=true | web sh -c 'x'",
		"stop --dry-run=false web":              "stop dry-run=false | web",
		"job submit -e A=-1 -e B=--x,y -- ls":   "submit env=[A=-1 B=--x,y] | ls",
		"run web --env-file --no-upload -- a b": "run env-file=--no-upload | web a b",
	} {
		root, got := (&app{}).root(), ""
		walk(root.Commands, func(c *cli.Command) {
			c.Action = func(c *cli.Context) error {
				set := []string{c.Command.Name}
				for _, f := range slices.Concat(root.Flags, c.Command.Flags) {
					name := f.Names()[0]
					switch {
					case !c.IsSet(name):
					case c.Generic(name) != nil:
						set = append(set, fmt.Sprint(name, "=", c.Generic(name)))
					case line.MayRepeat(f):
						set = append(set, fmt.Sprint(name, "=", c.StringSlice(name)))
					default:
						set = append(set, fmt.Sprint(name, "=", c.Value(name)))
					}
				}
				slices.Sort(set[1:])
				got = strings.TrimSpace(strings.Join(set, " ") + " | " + strings.Join(c.Args().Slice(), " "))
				return nil
			}
		})
		l, err := line.Parse(root, strings.Fields(in))
		if err == nil {
			err = l.Run(t.Context(), root)
		}
		if err != nil || got != want {
			t.Errorf("%s: %v (%v), want %s", in, got, err, want)
		}
	}
}

// Ctrl-C while waiting detaches: what was asked for continues.
func TestInterruptDetaches(t *testing.T) {
	f := withFake(t)
	for _, args := range [][]string{
		{"run", "large", "--cpus", "64", "--", "/bin/true"},
		{"job", "wait", "58"},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan result, 1)
		go func() { done <- run(ctx, args...) }()
		id := map[bool]string{true: "58", false: "large"}[args[0] == "job"]
		poll(t, func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.looks[id] > 1
		})
		cancel(errors.New("interrupted"))
		r := <-done
		if r.code != 0 || !strings.Contains(r.err, "detached; "+id+" continues: see `mesita show "+id+"`") {
			t.Errorf("%v: code %d, %q %q", args, r.code, r.out, r.err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := run(ctx, "ps"); r.code != interrupted || r.err != "" {
		t.Errorf("ps: code %d, %q", r.code, r.err)
	}
}

func poll(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			t.Fatal("it never came to be")
		case <-tick.C:
		}
	}
}

func TestStatusOnTerminalAndElsewhere(t *testing.T) {
	var out strings.Builder
	s := status{w: &out}
	for _, x := range []string{"1/3", "1/3", "2/3", "3/3"} {
		s.show(x)
	}
	s.clear()
	if out.String() != "1/3\n" { // the rest came within a second
		t.Errorf("got %q", out.String())
	}
	out.Reset()
	s = status{w: &out, live: true}
	s.show("1/3")
	s.show("2/3")
	s.clear()
	if out.String() != "\r\x1b[K1/3\r\x1b[K2/3\r\x1b[K" {
		t.Errorf("got %q", out.String())
	}
	s = status{w: &out, quiet: true}
	if out.Reset(); out.Len() != 0 {
		t.Errorf("quiet, and got %q", out.String())
	}
}

func TestFlagOfField(t *testing.T) {
	known := map[string]bool{}
	for _, f := range (&app{}).runCommand().Flags {
		known[f.Names()[0]] = true
	}
	for _, f := range (&app{}).jobSubmit().Flags {
		known[f.Names()[0]] = true
	}
	fields := api.FieldNames(reflect.TypeFor[api.JobSpec]())
	for _, sub := range api.FieldNames(reflect.TypeFor[api.RestartPolicy]()) {
		fields = append(fields, "restart."+sub)
	}
	for _, field := range fields {
		switch field {
		case "kind", "command", "program", "custom", "restart": // no flags
			continue
		case "fetch", "check", "health", "tty", "volumes": // of frameworks' tasks alone
			continue
		}
		if !known[option.FlagOf(field)] {
			t.Errorf("the field %s has no flag --%s", field, option.FlagOf(field))
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Minute: "0s", 5 * time.Second: "5s", 119 * time.Second: "119s", 5 * time.Minute: "5m", 3 * time.Hour: "3h", 72 * time.Hour: "3d"} {
		if got := age(time.Now().Add(-d - time.Millisecond)); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
	if age(time.Time{}) != "" {
		t.Error("no time has no age")
	}
}

// That no further node may vote is said only where that is what is missing.
func TestOnlyARightIsMissing(t *testing.T) {
	for _, c := range []struct {
		nodes, voters, may int
		want               bool
	}{{3, 2, 2, true}, {3, 1, 1, true}, {3, 2, 3, false}, {2, 2, 2, false}, {1, 1, 1, false}, {9, 3, 3, false}, {3, 2, 0, false}} {
		if got := needsVoters(&client.Cluster{Nodes: c.nodes, Voters: c.voters, MayVote: c.may}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func walk(cs []*cli.Command, f func(*cli.Command)) {
	for _, c := range cs {
		f(c)
		walk(c.Subcommands, f)
	}
}
