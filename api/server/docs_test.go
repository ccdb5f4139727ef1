package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/docs"
)

// Anybody reads the pages of a node: a browser in HTML that runs nothing, a program as
// they are written.
func TestDocs(t *testing.T) {
	n := newLeader(t)
	browser := http.Header{"Accept": {"text/html,application/xhtml+xml,*/*;q=0.8"}}
	paths := map[string]string{"/docs": docs.Index().Text}
	for _, topic := range docs.Topics() {
		p, err := docs.Find(topic.Name)
		if err != nil {
			t.Fatal(err)
		}
		paths["/docs/"+topic.Name] = p.Text
	}
	for path, text := range paths {
		r := n.send(request{method: "GET", path: path})
		r.want(t, 200)
		if string(r.body) != text || r.Header.Get("Content-Type") != "text/markdown; charset=utf-8" {
			t.Errorf("%s is of %s:\n%.100s", path, r.Header.Get("Content-Type"), r.body)
		}
		r = n.send(request{method: "GET", path: path, header: browser})
		r.want(t, 200)
		if r.Header.Get("Content-Type") != "text/html; charset=utf-8" || r.Header.Get("Vary") != "Accept" || !strings.HasPrefix(string(r.body), "<!DOCTYPE html>") {
			t.Errorf("%s for a browser is of %s, and varies by %q:\n%.100s", path, r.Header.Get("Content-Type"), r.Header.Get("Vary"), r.body)
		}
		policy := r.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; ") || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s for a browser may %q", path, policy)
		}
	}
	if e := n.send(request{method: "GET", path: "/docs/everything"}).want(t, 404); e == nil || e.Code != api.CodeNotFound || !strings.Contains(e.Message, "troubleshooting") {
		t.Errorf("a page that there is not: %+v", e)
	}
}
