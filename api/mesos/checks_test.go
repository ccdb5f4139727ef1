package mesos

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos/call"
	"github.com/mesita/mesita/api/mesos/operator"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// What is wrong with a call is found in the order of Mesos, and said in its words.
func TestChecksOfACall(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	s, other := w.subscribe(wire.JSON, example()), w.subscribe(wire.Protobuf, example())
	of := func(rest string) string { return `{"framework_id":{"value":"` + s.id + `"},` + rest + `}` }
	json := http.Header{"Content-Type": {"application/json"}}
	with := func(h http.Header, k, v string) http.Header {
		h = h.Clone()
		h[k] = append(h[k], v)
		return h
	}
	mine := with(json, "Mesos-Stream-Id", s.stream)
	for _, c := range []struct {
		name, method, body string
		header             http.Header
		status             int
		says               string
	}{
		{"GetRequest", "GET", "", json, 405, "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'."},
		{"NoContentType", "POST", "{}", http.Header{}, 400, "Expecting 'Content-Type' to be present"},
		{"malformed protobuf", "POST", "MALFORMED", http.Header{"Content-Type": {"application/x-protobuf"}}, 400, "Failed to parse body into Call protobuf"},
		{"MalformedContent", "POST", "MALFORMED", json, 400, "Failed to parse body into JSON: "},
		{"JSON of another type", "POST", `{"type":1}`, json, 400, "Failed to convert JSON into Call protobuf: "},
		{"UnsupportedContentMediaType", "POST", "{}", http.Header{"Content-Type": {"application/unknown"}}, 415, "Expecting 'Content-Type' of application/json or application/x-protobuf"},
		{"ValidJsonButInvalidProtobuf", "POST", `{"string":"valid_json"}`, json, 400, "Failed to validate scheduler::Call: Expecting 'type' to be present"},
		{"subscribe without its part", "POST", `{"type":"SUBSCRIBE"}`, json, 400, "Failed to validate scheduler::Call: Expecting 'subscribe' to be present"},
		{"two ids", "POST", `{"type":"SUBSCRIBE","framework_id":{"value":"a"},"subscribe":{"framework_info":{"user":"u","name":"n","id":{"value":"b"}}}}`, json, 400, "Failed to validate scheduler::Call: 'framework_id' differs from 'subscribe.framework_info.id'"},
		{"no id", "POST", `{"type":"TEARDOWN"}`, json, 400, "Failed to validate scheduler::Call: Expecting 'framework_id' to be present"},
		{"accept without its part", "POST", of(`"type":"ACCEPT"`), mine, 400, "Failed to validate scheduler::Call: Expecting 'accept' to be present"},
		{"update without its part", "POST", of(`"type":"UPDATE_FRAMEWORK"`), mine, 400, "Failed to validate scheduler::Call: Expecting 'update_framework' to be present"},
		{"MalformedUUID", "POST", of(`"type":"ACKNOWLEDGE","acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":"t"},"uuid":"AAAA"}`), mine, 400, "Failed to validate scheduler::Call: Not a valid UUID"},
		{"NotAcceptable", "POST", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n"}}}`, with(json, "Accept", "foo"), 406, "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'"},
		{"SubscribeWithStreamId", "POST", `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n"}}}`, mine, 400, "Subscribe calls should not include the 'Mesos-Stream-Id' header"},
		{"unknown framework", "POST", `{"type":"TEARDOWN","framework_id":{"value":"nobody"}}`, mine, 400, "Framework cannot be found"},
		{"TeardownWithoutStreamId", "POST", of(`"type":"TEARDOWN"`), json, 400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header"},
		{"TeardownWrongStreamId", "POST", of(`"type":"TEARDOWN"`), with(json, "Mesos-Stream-Id", other.stream), 400, "The stream ID '" + other.stream + "' included in this request didn't match the stream ID currently associated with framework ID " + s.id},
		{"unknown type", "POST", of(`"type":"UNKNOWN"`), mine, 501, ""},
		{"last header wins", "POST", of(`"type":"REVIVE"`), with(with(json, "Mesos-Stream-Id", "wrong"), "Mesos-Stream-Id", s.stream), 202, ""},
		{"parameters of a type", "POST", of(`"type":"REVIVE"`), with(http.Header{"Content-Type": {"application/json; charset=utf-8"}}, "Mesos-Stream-Id", s.stream), 202, ""},
		{"nulls", "POST", of(`"type":"SUPPRESS","accept":null,"suppress":{"roles":null}`), mine, 202, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := w.send(c.method, []byte(c.body), c.header)
			body := text(t, res)
			whole := !strings.HasSuffix(c.says, ": ")
			if res.StatusCode != c.status || whole && body != c.says || !whole && !strings.HasPrefix(body, c.says) {
				t.Errorf("%s %q, not %d %q", res.Status, body, c.status, c.says)
			}
			if kind := res.Header.Get("Content-Type"); c.says != "" && !strings.HasPrefix(kind, "text/plain") || c.says == "" && kind != "" {
				t.Errorf("its type is %q", kind)
			}
			if c.status == 405 && res.Header.Get("Allow") != "POST" {
				t.Errorf("Allow is %q", res.Header.Get("Allow"))
			}
		})
	}
}

// Bodies may be compressed, and are bounded as they are unpacked.
func TestCompressedCalls(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	s := w.subscribe(wire.JSON, example())
	pack := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, _ = z.Write(b)
		_ = z.Close()
		return out.Bytes()
	}
	h := http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}, "Mesos-Stream-Id": {s.stream}}
	revive := []byte(`{"type":"REVIVE","framework_id":{"value":"` + s.id + `"}}`)
	if res := w.send("POST", pack(revive), h); res.StatusCode != 202 {
		t.Errorf("%s: %s", res.Status, text(t, res))
	}
	if res := w.send("POST", pack(make([]byte, 2*call.MaxBody)), h); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a bomb: %s: %s", res.Status, text(t, res))
	}
	if res := w.send("POST", revive, h); res.StatusCode != 400 {
		t.Errorf("what is not compressed: %s: %s", res.Status, text(t, res))
	}
	deep := []byte(strings.Repeat(`{"accept":`, 1000))
	if res := w.send("POST", deep, http.Header{"Content-Type": {"application/json"}}); res.StatusCode != 400 {
		t.Errorf("deep: %s", res.Status)
	}
}

// Where credentials are needed, a client token is the secret of who is called as it is.
func TestAuthenticationRequired(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	tok, secret := auth.NewToken(&api.TokenRequest{Kind: api.TokenClient, Name: "ci", Role: api.RoleAdmin}, testTime)
	w.do(&fsm.TokenCreate{Meta: fsm.Meta{At: testTime}, Token: tok})
	shown := api.ClientToken{ID: tok.ID, Secret: secret}.String()
	for _, c := range []struct {
		user, pass, principal string
		status                int
		says                  string
	}{
		{"", "", "", 401, ""}, {"ci", "wrong", "", 401, ""}, {"other", shown, "", 401, ""},
		{"ci", shown, "", 200, "SUBSCRIBED"}, {"ci", shown, "ci", 200, "SUBSCRIBED"}, {"ci", shown, "other", 200, "Authenticated principal 'ci' does not match principal 'other'"},
	} {
		body := `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"` + api.TaskUser + `","name":"n"` + map[bool]string{true: `,"principal":"` + c.principal + `"`}[c.principal != ""] + `}}}`
		r, err := http.NewRequestWithContext(t.Context(), "POST", w.http.URL+"/api/v1/scheduler", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if c.user != "" {
			r.SetBasicAuth(c.user, c.pass)
		}
		res, err := w.http.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != c.status {
			t.Errorf("%+v: %s", c, res.Status)
		}
		if c.status == 401 && res.Header.Get("Www-Authenticate") != `Basic realm="mesos-master-scheduler"` {
			t.Errorf("%+v: %v", c, res.Header)
		}
		if c.status == 200 {
			b, err := wire.NewRecordReader(res.Body, 1<<20).Next()
			if err != nil || !strings.Contains(string(b), c.says) {
				t.Errorf("%+v: %s, %v", c, b, err)
			}
		}
		_ = res.Body.Close()
	}
}

// parameters are those of the path of a route.
var parameters = regexp.MustCompile(`\{[^}]*\}`)

// A browser that was given a token as Basic credentials shows it for the pages of all sites:
// none of another may change anything by that, and programs, which do not say of which site
// they are, may.
func TestPagesOfOtherSitesUseNobodysCredentials(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	tok, secret := auth.NewToken(&api.TokenRequest{Kind: api.TokenClient, Name: "ci", Role: api.RoleAdmin}, testTime)
	w.do(&fsm.TokenCreate{Meta: fsm.Meta{At: testTime}, Token: tok})
	cfg := w.server.Config
	cfg.Others = operator.New(operator.Config{Store: w.store, Master: w.server.Master}).Routes()
	handler, n := New(cfg).Handler(auth.Bearer, nil), 0
	for _, route := range append(w.server.routes(), cfg.Others...) {
		if !route.Basic {
			continue
		}
		n++
		for _, c := range []struct {
			header, value string
			refused       bool
		}{
			{"", "", false}, {"Sec-Fetch-Site", "same-origin", false}, {"Sec-Fetch-Site", "cross-site", true}, {"Sec-Fetch-Site", "same-site", true}, {"Origin", "http://evil.example", true}, {"Origin", "null", true},
		} {
			method := http.MethodPost
			if route.Method == http.MethodDelete {
				method = route.Method
			}
			r := httptest.NewRequestWithContext(t.Context(), method, parameters.ReplaceAllString(route.Path, "x"), strings.NewReader("frameworkId=x"))
			r.SetBasicAuth("ci", api.ClientToken{ID: tok.ID, Secret: secret}.String())
			if c.header != "" {
				r.Header.Set(c.header, c.value)
			}
			rec := httptest.NewRecorder()
			handler.ServeHTTP(rec, r)
			if refused := rec.Code == http.StatusForbidden && strings.Contains(rec.Body.String(), "another origin"); refused != c.refused || rec.Code == http.StatusUnauthorized {
				t.Errorf("%s with %s %q: %d %s", route.Path, c.header, c.value, rec.Code, rec.Body)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d routes", n)
	}
}

// What is asked in both of Mesos' ways has one answer.
func TestOldAndNewCallsAnswerAlike(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	cfg := w.server.Config
	cfg.Others = operator.New(operator.Config{Store: w.store, Master: w.server.Master}).Routes()
	s := New(cfg)
	s.hub.Store(w.hub)
	ask := func(method, path, body string) (int, string) {
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		if r.Header.Set("Content-Type", "application/json"); path == "/teardown" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		rec := httptest.NewRecorder()
		s.Handler(auth.Anybody, nil).ServeHTTP(rec, r)
		return rec.Code, rec.Body.String()
	}
	w.do(&fsm.NodeDrain{Meta: fsm.Meta{At: testTime}, ID: "oak", Drain: true})
	_, old := ask("GET", "/maintenance/status", "")
	_, now := ask("POST", "/api/v1", `{"type":"GET_MAINTENANCE_STATUS"}`)
	if !strings.Contains(old, `"down_machines":[{"hostname":"oak"`) || !strings.Contains(now, `"down_machines":[{"hostname":"oak"`) {
		t.Errorf("%s\n%s", old, now)
	}
	w.do(&fsm.FrameworkPut{Meta: fsm.Meta{At: testTime}, Connect: true, Framework: &api.Framework{ID: "f9", Name: "n", Session: "s9"}})
	a, old := ask("POST", "/teardown", "frameworkId=f9")
	b, now := ask("POST", "/api/v1", `{"type":"TEARDOWN","teardown":{"framework_id":{"value":"f9"}}}`)
	if a != b || old != now || a == http.StatusOK {
		t.Errorf("%d %s\n%d %s", a, old, b, now)
	}
}
