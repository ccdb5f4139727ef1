package docs

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"strconv"
	"strings"
)

// style is that of all pages: one column, on a phone as on a wide screen.
const style = `body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:0 auto;padding:1rem;color:#222;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2rem}h3{font-size:1.05rem}
pre{background:#f4f4f2;padding:.7rem;overflow-x:auto;border-radius:4px}code{font:.9em ui-monospace,monospace;background:#f4f4f2}pre code{background:none}
div{overflow-x:auto}table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #ddd}
a{color:#0b57a4}nav{font-size:.9rem}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}pre,code{background:#2a2a2a}td,th{border-color:#444}a{color:#8ab8ec}}`

// Policy is the Content-Security-Policy of what is in HTML here: nothing runs, nothing is
// loaded, and only the pages' own style holds.
func Policy() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// HTML is the page for a browser.
func (p Page) HTML() string {
	var b strings.Builder
	b.WriteString("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">" +
		"<title>" + html.EscapeString(p.Title) + "</title><style>" + style + "</style></head><body>\n")
	if p.Topic != "" {
		b.WriteString("<nav><a href=\"/docs\">mesita</a></nav>\n")
	}
	items := false
	for _, x := range parse(p.Text) {
		if items != (x.kind == item) {
			items = !items
			b.WriteString(map[bool]string{true: "<ul>\n", false: "</ul>\n"}[items])
		}
		x.html(&b)
	}
	if items {
		b.WriteString("</ul>\n")
	}
	b.WriteString("</body></html>\n")
	return b.String()
}

func (x block) html(b *strings.Builder) {
	switch x.kind {
	case heading:
		h := "h" + strconv.Itoa(x.level) + ">"
		b.WriteString("<" + h + inline(x.lines[0]) + "</" + h + "\n")
	case fence:
		b.WriteString("<pre><code>" + html.EscapeString(strings.Join(x.lines, "\n")) + "</code></pre>\n")
	case item:
		b.WriteString("<li>" + inline(x.lines[0]) + "</li>\n")
	case table:
		b.WriteString("<div><table>\n")
		for i, r := range x.rows {
			tag := "td>"
			if i == 0 {
				tag = "th>"
			}
			b.WriteString("<tr>")
			for _, c := range r {
				b.WriteString("<" + tag + inline(c) + "</" + tag)
			}
			b.WriteString("</tr>\n")
		}
		b.WriteString("</table></div>\n")
	case paragraph:
		b.WriteString("<p>" + inline(x.lines[0]) + "</p>\n")
	}
}

// inline is a text with its marks.
func inline(text string) string {
	var b strings.Builder
	for _, s := range spans(text) {
		in := html.EscapeString(s.text)
		topic, page := strings.CutSuffix(s.link, ".md")
		switch {
		case s.code:
			in = "<code>" + in + "</code>"
		case s.bold:
			in = "<strong>" + in + "</strong>"
		case page:
			in = `<a href="/docs/` + html.EscapeString(topic) + `">` + in + "</a>"
		case strings.HasPrefix(s.link, "https://"):
			in = `<a href="` + html.EscapeString(s.link) + `">` + in + "</a>"
		}
		b.WriteString(in)
	}
	return b.String()
}
