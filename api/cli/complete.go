package cli

import (
	"bufio"
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/cli/line"
)

// completePatience is how long a node may take to tell names, on this machine or
// elsewhere, where a connection takes several ways to and fro: who presses a key waits no
// longer, and not again within a few seconds.
const (
	completePatience = 80 * time.Millisecond
	completeFar      = 500 * time.Millisecond
)

// complete prints what may stand where the cursor is, for a shell's script. It says
// nothing of what fails: a cluster that is away has no names.
func (a *app) complete(ctx context.Context, words []string) {
	root := a.root()
	l, want := line.Complete(root, words)
	cur := ""
	if len(words) > 0 {
		cur = strings.TrimPrefix(words[len(words)-1], want.Begin)
	}
	if cur == "=" {
		cur = ""
	}
	found := want.Words
	for _, noun := range want.Nouns {
		found = append(found, a.nouns(ctx, l, noun, cur)...)
	}
	if fits := func(w line.Word) bool { return strings.HasPrefix(w.Text, cur) }; slices.Contains(want.Nouns, "JOB") && slices.Contains(want.Nouns, "TASK") {
		if i := slices.IndexFunc(found, fits); i >= 0 && !strings.Contains(found[i].Text, ".") && !slices.ContainsFunc(found[i+1:], fits) {
			found = append(found, line.Word{Text: found[i].Text + "."}) // a shell would end the only one with a blank
		}
	}
	out := bufio.NewWriter(a.out)
	defer out.Flush() // nobody reads if it fails
	for _, w := range found {
		if !strings.HasPrefix(w.Text, cur) {
			continue
		}
		if out.WriteString(want.Begin + w.Text); w.About != "" {
			out.WriteString("\t" + w.About)
		}
		out.WriteByte('\n')
	}
	if want.Files {
		fmt.Fprintln(out, line.FilesLine)
	}
}

// nouns are those of one kind that begin with cur.
func (a *app) nouns(ctx context.Context, l *line.Line, noun, cur string) (words []line.Word) {
	add := func(names []string) {
		for _, n := range names {
			words = append(words, line.Word{Text: n})
		}
	}
	switch noun {
	case "ROLE":
		add(api.RightRoles)
	case "ACTION":
		add(auth.Actions())
	case "SETTING":
		add(settingNames())
	case "ID": // of whatever has one
		for _, n := range []string{"JOB", "NODE", "PARTITION"} {
			words = append(words, a.nouns(ctx, l, n, cur)...)
		}
	case "JOB":
		asked := a.ask(ctx, l, question{"/v1/jobs", "id", nil})
		if !slices.ContainsFunc(asked, func(n string) bool { return strings.HasPrefix(n, cur) }) {
			asked = a.ask(ctx, l, question{"/v1/jobs", "id", url.Values{"all": {"1"}}}) // also those that ended
		}
		add(asked)
	case "TASK": // once it is of a job
		if job, _, ok := strings.Cut(cur, "."); ok {
			add(a.ask(ctx, l, question{"/v1/tasks", "id", url.Values{"job": {job}}}))
		}
	default:
		if q, ok := questions[noun]; ok {
			add(a.ask(ctx, l, q))
		}
	}
	return words
}

// question is a list of the cluster, and which field of it names a row.
type question struct {
	path, field string
	query       url.Values
}

var questions = map[string]question{
	"NODE":      {"/v1/nodes", "name", nil},
	"PARTITION": {"/v1/partitions", "path", nil},
	"FRAMEWORK": {"/v1/frameworks", "id", nil},
	"OFFER":     {"/v1/offers", "id", nil},
	"TOKEN":     {"/v1/tokens", "id", nil},
	"INCIDENT":  {"/v1/incidents", "id", url.Values{"open": {"1"}}},
}

// ask takes names from the cluster, or those that it had a moment ago.
func (a *app) ask(ctx context.Context, l *line.Line, q question) []string {
	addr, socket := l.Global("addr", os.Getenv("MESITA_ADDR")), l.Global("socket", os.Getenv("MESITA_SOCKET"))
	store := openNames(addr, socket, q)
	if names, ok := store.fresh(); ok {
		return names
	}
	cl, err := a.reach(addr, socket)
	if err != nil {
		return nil
	}
	patience := completePatience
	if cl.Remote() {
		patience = completeFar
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	names, err := cl.Names(ctx, q.path, q.field, q.query)
	if err != nil {
		return store.missed()
	}
	store.keep(names)
	return names
}
