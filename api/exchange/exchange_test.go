package exchange

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
)

// A route that does not say who may does not start.
func TestRoutesNameTheirAction(t *testing.T) {
	for _, r := range []*Route{{Method: "GET", Path: "/"}, {Method: "GET", Path: "/", Action: auth.Look}, {Method: "GET", Path: "/", Scope: auth.OfAny}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v is served", r)
				}
			}()
			named([]*Route{r})
		}()
	}
	named([]*Route{{Method: "GET", Path: "/", Action: auth.Look, Scope: auth.OfAny}})
}

func TestFindRoute(t *testing.T) {
	rs := newRoutes([]*Route{{Method: "GET", Path: "/"}, {Method: "GET", Path: "/jobs"}, {Method: "GET", Path: "/jobs/{id}"}, {Method: "POST", Path: "/jobs/{id}/stop"}, {Method: "GET", Path: "/jobs/new"}, {Method: "PUT", Path: "/parts/{path...}"}})
	for _, c := range []struct {
		method, path, found, arg string
		code                     api.Code
	}{
		{"GET", "/", "/", "", ""}, {"GET", "/jobs", "/jobs", "", ""}, {"GET", "/jobs/", "/jobs", "", ""}, {"GET", "/jobs/web", "/jobs/{id}", "web", ""},
		{"GET", "/jobs/new", "/jobs/new", "", ""}, {"POST", "/jobs/web.1/stop", "/jobs/{id}/stop", "web.1", ""}, {"GET", "/jobs/sha256%3Aab", "/jobs/{id}", "sha256:ab", ""},
		{"POST", "/jobs", "", "", api.CodeInvalid}, {"GET", "/jobs/web/stop", "", "web", api.CodeInvalid}, {"GET", "/jobs/a b", "", "", api.CodeInvalid},
		{"GET", "/jobs/a%2fb", "", "", api.CodeInvalid}, {"GET", "/jobs/web/go", "", "web", api.CodeNotFound}, {"GET", "/job", "", "", api.CodeNotFound}, {"GET", "/jobs//stop", "", "", api.CodeInvalid},
		{"PUT", "/parts/ml", "/parts/{path...}", "ml", ""}, {"PUT", "/parts/ml/train/x", "/parts/{path...}", "ml/train/x", ""}, {"PUT", "/parts/ml%2Ftrain", "/parts/{path...}", "ml/train", ""},
		{"PUT", "/parts/ml//x", "", "", api.CodeInvalid}, {"PUT", "/parts/ml/a b", "", "", api.CodeInvalid}, {"PUT", "/parts/" + strings.Repeat("a/", 300) + "a", "", "", api.CodeInvalid},
		{"GET", "/parts/ml/x", "", "ml/x", api.CodeInvalid}, {"PUT", "/parts", "", "", api.CodeNotFound},
	} {
		r := httptest.NewRequest(c.method, "/", nil)
		if err := r.URL.UnmarshalBinary([]byte(c.path)); err != nil {
			t.Fatal(err)
		}
		var args [1]string
		rt, err := rs.find(r, &args)
		if api.ErrorCode(err) != c.code || args[0] != c.arg || rt != nil && rt.Path != c.found {
			t.Errorf("%s %s: %+v %q %v", c.method, c.path, rt, args[0], err)
		}
	}
}

// Who asks for what is not there is told where to look, at an address that has no list, too.
func TestWhatIsNotThereSaysWhatIs(t *testing.T) {
	for want, table := range map[string][]*Route{"/ lists what there is": {{Method: "GET", Path: "/"}, {Method: "GET", Path: "/x"}}, "`mesita help frameworks`": {{Method: "GET", Path: "/x"}}} {
		rs := newRoutes(table)
		for _, path := range []string{"/y", "/x/y", "/y/x/z"} {
			if _, err := rs.find(httptest.NewRequest("GET", path, nil), new([1]string)); api.ErrorCode(err) != api.CodeNotFound || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, without %q", path, err, want)
			}
		}
	}
}

func TestQuery(t *testing.T) {
	known := []string{"n", "f", "d", "w", "i", "k", "cmd"}
	parse := func(raw string) (Query, error) {
		return parseQuery(httptest.NewRequest(http.MethodGet, "/?"+raw, nil), known)
	}
	q, err := parse("n=5&f=true&d=1m&w=b&i=18446744073709551615&k=batch&cmd=a&cmd=b")
	if err != nil {
		t.Fatal(err)
	}
	var kind api.Kind
	if q.Number("n", 1, 0, 9) != 5 || !q.Flag("f") || q.Duration("d", 0, time.Hour) != time.Minute || q.OneOf("w", "a", "b") != "b" || q.Index("i") != 1<<64-1 || !q.Enum("k", &kind) || kind != api.KindBatch || q.Err != nil {
		t.Errorf("%+v", q)
	}
	q, _ = parse("")
	if q.Number("n", 7, 0, 9) != 7 || q.Flag("f") || q.Duration("d", time.Second, time.Hour) != time.Second || q.Enum("k", &kind) || q.Has("n") || q.Err != nil {
		t.Errorf("%+v", q)
	}
	for raw, read := range map[string]func(*Query){
		"n=10": func(q *Query) { q.Number("n", 0, 0, 9) }, "n=x": func(q *Query) { q.Number("n", 0, 0, 9) }, "f=maybe": func(q *Query) { q.Flag("f") },
		"d=2h": func(q *Query) { q.Duration("d", 0, time.Hour) }, "d=-1s": func(q *Query) { q.Duration("d", 0, time.Hour) }, "d=soon": func(q *Query) { q.Duration("d", 0, time.Hour) },
		"w=c": func(q *Query) { q.OneOf("w", "a", "b") }, "i=-1": func(q *Query) { q.Index("i") }, "k=mad": func(q *Query) { q.Enum("k", &kind) },
	} {
		q, err := parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if read(&q); api.ErrorCode(q.Err) != api.CodeInvalid || q.Err.(*api.Error).Field != raw[:1] {
			t.Errorf("%s: %v", raw, q.Err)
		}
	}
	for _, raw := range []string{"x=1", "n=1&n=2", "n=%zz", "a;b"} {
		if _, err := parse(raw); api.ErrorCode(err) != api.CodeInvalid {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// What a browser says of the page that has it ask is told to the node that is asked
// instead, in words that hold there: it is asked by another host's name.
func TestSiteTravels(t *testing.T) {
	for _, c := range []struct{ says, referer, want string }{
		{"", "", ""}, {"", "http://oak:5050/page", "same-origin"}, {"", "http://evil.example/", "cross-site"}, {"", "http://oak:80/", "cross-site"}, {"", "%zz", ""},
		{"cross-site", "http://oak:5050/page", "cross-site"}, {"same-origin", "", "same-origin"}, {"none", "", "none"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://oak:5050/state?jsonp=f", nil)
		r.Header.Set("Sec-Fetch-Site", c.says)
		r.Header.Set("Referer", c.referer)
		got := (&Call{R: r, Route: &Route{}}).outgoing(t.Context(), way{}, "elm:5050", "/state").Header
		if got.Get("Sec-Fetch-Site") != c.want || got.Get("Referer") != "" {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
