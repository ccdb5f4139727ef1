// Package docs is the pages of the documentation, which the binary carries: `mesita help
// TOPIC` prints one, and each node serves them at /docs. It owns the pages and how they
// are read, for a terminal and for a browser; what they say of keys comes from package
// api. It knows only the part of Markdown that the pages use. Its callers are api/cli and
// api/server; ./integration runs the commands of the pages.
package docs

import (
	"embed"
	"reflect"
	"strings"

	"github.com/mesita/mesita/api"
)

//go:embed *.md
var files embed.FS

// Topic is the word by which a page is asked for, and what the page is about.
type Topic struct{ Name, About string }

// Topics are those of all pages, in the order in which one would read them. None of the
// pages is read for it, as each command line has the list.
func Topics() []Topic {
	return []Topic{
		{"concepts", "what mesita is made of, and the words for it"},
		{"jobs", "services and batch work: what a job may ask for, all keys of files"},
		{"sharing", "partitions: who gets how much, in which order, and how it is taken back"},
		{"frameworks", "programs that schedule by themselves: offers, what they run, how they end"},
		{"nodes", "servers: starting, joining, settings, ports, draining, removing"},
		{"security", "who may do what, and what a task may do to its node"},
		{"failure", "what happens when something breaks"},
		{"operations", "backup, upgrade, moving, a lost quorum"},
		{"api", "HTTP, streams, metrics and exit codes, for scripts and machines"},
		{"troubleshooting", "messages, what they mean, and what to do"},
		{"limits", "how much there may be of what, and how long it is kept"},
	}
}

// Page is one page.
type Page struct {
	Topic string // "" = the list of all pages
	Title string
	Text  string // all of it, in Markdown
}

// Find is the page on a topic; its error says which there are.
func Find(topic string) (Page, error) {
	raw, err := files.ReadFile(topic + ".md")
	if err != nil {
		var names []string
		for _, t := range Topics() {
			names = append(names, t.Name)
		}
		return Page{}, api.Errorf(api.CodeNotFound, "there is no page %q: the topics are %s", topic, strings.Join(names, ", "))
	}
	text := string(raw)
	for mark, of := range marks {
		if before, after, ok := strings.Cut(text, mark); ok {
			text = before + keys(of) + after
		}
	}
	title, _, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
	return Page{topic, title, text}, nil
}

// Index is the list of all pages.
func Index() Page {
	var b strings.Builder
	b.WriteString("# mesita\n\nThe pages of the documentation of this version; `mesita help TOPIC` prints them.\n\n")
	for _, t := range Topics() {
		b.WriteString("- [" + t.Name + "](" + t.Name + ".md): " + t.About + "\n")
	}
	return Page{Title: "mesita", Text: b.String()}
}

// marks stand in pages for the table of all keys of a noun, which is written once, beside
// the noun's fields.
var marks = map[string]reflect.Type{
	"<!-- keys of a job -->\n":       reflect.TypeFor[api.JobSpec](),
	"<!-- keys of a partition -->\n": reflect.TypeFor[api.Partition](),
}

// keys is the table of the keys of a noun.
func keys(of reflect.Type) string {
	var b strings.Builder
	b.WriteString("| key | meaning | default | example |\n|---|---|---|---|\n")
	for k := range api.KeysOf(of) {
		about := k.About
		if len(k.Kinds) > 0 {
			about = k.Kinds[0].String() + ": " + about
		}
		b.WriteString("| `" + k.Name + "` | " + cell(about) + " | " + cell(k.Default) + " | " + cell(code(k.Example)) + " |\n")
	}
	return b.String()
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

// cell is text that does not end the cell that it is in.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
