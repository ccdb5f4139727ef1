package docs

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mesita/mesita/api"
)

func pages(t *testing.T) []Page {
	t.Helper()
	all := []Page{Index()}
	for _, topic := range Topics() {
		p, err := Find(topic.Name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// What is in the folder is listed, and what is listed is there.
func TestEachPageIsATopic(t *testing.T) {
	entries, err := files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	topics := Topics()
	if len(entries) != len(topics) {
		t.Errorf("%d files and %d topics", len(entries), len(topics))
	}
	for _, e := range entries {
		name, _ := strings.CutSuffix(e.Name(), ".md")
		if !slices.ContainsFunc(topics, func(x Topic) bool { return x.Name == name }) {
			t.Errorf("%s is not a topic", e.Name())
		}
	}
	var e *api.Error
	if _, err := Find("../docs"); !errors.As(err, &e) || e.Code != api.CodeNotFound || !strings.Contains(e.Message, "failure") {
		t.Errorf("a page that there is not: %v", err)
	}
}

// A page fits a terminal of 80 columns, code too, and its code is as it was.
func TestPagesFitATerminal(t *testing.T) {
	const width = 80
	for _, p := range pages(t) {
		text := p.Terminal(width)
		for l := range strings.Lines(text) {
			l = strings.TrimSuffix(l, "\n")
			if utf8.RuneCountInString(l) > width && strings.Contains(strings.Trim(l, " `"), " ") {
				t.Errorf("%s: a line is %d wide: %s", p.Topic, utf8.RuneCountInString(l), l)
			}
			if strings.TrimRight(l, " ") != l {
				t.Errorf("%s: %q ends with blanks", p.Topic, l)
			}
		}
		for _, b := range Blocks(p.Text) {
			code := strings.ReplaceAll("\n"+strings.Join(b.Lines, "\n"), "\n", "\n"+margin+margin)
			if !strings.Contains(text, strings.ReplaceAll(code, "\n"+margin+margin+"\n", "\n\n")) {
				t.Errorf("%s: its code is not as it was:\n%s", p.Topic, code)
			}
		}
	}
}

// All keys are in the pages, of which none is written twice.
func TestKeysAreInThePages(t *testing.T) {
	for _, p := range pages(t) {
		if strings.Contains(p.Text, "<!--") {
			t.Errorf("%s has a mark that stands for nothing", p.Topic)
		}
	}
	for topic, keys := range map[string][]string{"jobs": {"`memLimit`", "`restart`", "`ports`"}, "sharing": {"`guarantee`", "`maxFrozen`"}} {
		p, _ := Find(topic)
		for _, k := range keys {
			if !strings.Contains(p.Text, "| "+k+" | ") {
				t.Errorf("%s has no key %s", topic, k)
			}
		}
	}
}

// What a browser gets is well-formed, runs nothing, and leads only to pages that there
// are, or elsewhere by TLS.
func TestPagesInABrowser(t *testing.T) {
	for _, p := range append(pages(t), hostile) {
		d := xml.NewDecoder(strings.NewReader(p.HTML()))
		d.Strict, d.AutoClose, d.Entity = false, []string{"meta"}, xml.HTMLEntity
		depth := 0
		for {
			tok, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", p.Topic, err)
			}
			switch e := tok.(type) {
			case xml.StartElement:
				depth++
				if e.Name.Local == "script" || e.Name.Local == "img" {
					t.Errorf("%s has an element %s", p.Topic, e.Name.Local)
				}
				for _, a := range e.Attr {
					checkAttr(t, p.Topic, a)
				}
			case xml.EndElement:
				depth--
			}
		}
		if depth != 0 {
			t.Errorf("%s: %d elements are open at its end", p.Topic, depth)
		}
	}
}

func checkAttr(t *testing.T, topic string, a xml.Attr) {
	t.Helper()
	switch a.Name.Local {
	case "href":
		to, page := strings.CutPrefix(a.Value, "/docs/")
		if _, err := Find(to); page && err != nil && topic != hostile.Topic {
			t.Errorf("%s leads to %s: %v", topic, a.Value, err)
		}
		if !page && a.Value != "/docs" && !strings.HasPrefix(a.Value, "https://") {
			t.Errorf("%s leads to %s", topic, a.Value)
		}
	case "lang", "charset", "name", "content":
	default:
		t.Errorf("%s has an attribute %s", topic, a.Name.Local)
	}
}

// hostile is a page that nobody wrote.
var hostile = Page{Topic: "hostile", Title: "</title><script>", Text: "# <script>\n\n`</code><img src=x>` **<b** [x](javascript:alert) [y](\"onclick=.md) [z](https://a\"b)\n\n" +
	"| <i> |\n|---|\n| </table> |\n\n- <script>\n\n```sh\n</pre><script>\n"}

func TestHowAPageIsShown(t *testing.T) {
	p := Page{Topic: "x", Title: "One", Text: "# One\n\nSome **words** and `code *as it is*`,\nmore of [them](jobs.md), [far](https://a.b).\n\n## Two\n\n- first\n  goes here\n- second\n\n" +
		"```sh\nmesita ps   # * [x](y)\n```\n\n| a | b |\n|---|---|\n| `x \\| y` | z |\n"}
	want := "ONE\n\n  Some words and `code *as it is*`, more of\n  them (`mesita help jobs`), far\n  (https://a.b).\n\nTwo\n\n  - first goes here\n  - second\n\n" +
		"    mesita ps   # * [x](y)\n\n  a        b\n  `x | y`  z\n"
	if got := p.Terminal(43); got != want {
		t.Errorf("on a terminal:\n%s\nwant:\n%s", got, want)
	}
	for _, part := range []string{"<p>Some <strong>words</strong> and <code>code *as it is*</code>, more of <a href=\"/docs/jobs\">them</a>, <a href=\"https://a.b\">far</a>.</p>",
		"<ul>\n<li>first goes here</li>\n<li>second</li>\n</ul>", "<pre><code>mesita ps   # * [x](y)</code></pre>", "<td><code>x | y</code></td><td>z</td>"} {
		if got := p.HTML(); !strings.Contains(got, part) {
			t.Errorf("in a browser there is no\n%s\nin\n%s", part, got)
		}
	}
}

// A table of many columns that is too wide has the others below the second.
func TestWideTables(t *testing.T) {
	p := Page{Text: "| key | meaning | default |\n|---|---|---|\n| one | what it is for | 1 |\n| two | nothing | |\n"}
	if got, want := p.Terminal(24), "  one  what it is for\n       default: 1\n\n  two  nothing\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func FuzzPages(f *testing.F) {
	for _, p := range []Page{hostile, Index()} {
		f.Add(p.Text, 80)
	}
	f.Fuzz(func(t *testing.T, text string, width int) {
		p := Page{Title: "x", Text: text}
		p.Terminal(min(max(width, 20), 200))
		if strings.Contains(p.HTML(), "<script") {
			t.Error("it runs something")
		}
	})
}
