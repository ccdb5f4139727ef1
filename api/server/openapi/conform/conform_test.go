package conform_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api/server/openapi"
	"github.com/mesita/mesita/api/server/openapi/conform"
)

type thing struct {
	Name  string   `json:"name"`
	Words []string `json:"words"`
	Size  int      `json:"size,omitempty"`
}

type failure struct {
	Error struct {
		Code string `json:"code"`
	} `json:"error"`
}

func checker(t *testing.T) *conform.Checker {
	t.Helper()
	always := []openapi.Param{{Name: "X-Mesita-Index", Of: 0, Always: true}}
	b, err := json.Marshal(openapi.Describe("things", "1", []openapi.Operation{
		{Method: "GET", Path: "/things", Reply: openapi.Reply{Answer: []thing{}, Paged: true}, Else: []openapi.Reply{{Status: 304}}},
		{Method: "GET", Path: "/things/{id}", Reply: openapi.Reply{Answer: thing{}}},
		{Method: "POST", Path: "/things", Body: thing{}, Reply: openapi.Reply{Status: 201, Answer: thing{}}},
		{Method: "GET", Path: "/watch", Reply: openapi.Reply{Answer: thing{}, Stream: true, Raw: true}},
	}, openapi.Common{Error: failure{}, About: "no", Answers: always}))
	if err != nil {
		t.Fatal(err)
	}
	c, err := conform.New(b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnswersThatDiffer(t *testing.T) {
	c := checker(t)
	const jsonText, rows = "application/json", "application/x-ndjson"
	for _, q := range []struct {
		request, asked string
		status         int
		kind, body     string
		wrong          string // "" = nothing
	}{
		{"GET /things/a", "", 200, jsonText, `{"name":"a","words":null}`, ""},
		{"GET /things/a", "", 200, jsonText, `{"name":"a","words":["b"],"size":1}`, ""},
		{"GET /things/a", "", 200, jsonText, `{"words":["b"]}`, "missing property 'name'"},
		{"GET /things/a", "", 200, jsonText, `{"name":null,"words":null}`, "got null, want string"},
		{"GET /things/a", "", 200, jsonText, `{"name":"a","words":null,"secret":1}`, "'secret' not allowed"},
		{"GET /things/a", "", 200, jsonText, `{"name":"a"`, "not JSON"},
		{"GET /things/a", "", 200, "text/plain", `a`, `of type "text/plain"`},
		{"GET /things/a", "", 201, jsonText, `{"name":"a","words":null}`, "not a documented status"},
		{"GET /things/a", "", 404, jsonText, `{"error":{"code":"none"}}`, ""},
		{"GET /things/a", "", 404, jsonText, `{"error":"none"}`, "got string, want object"},
		{"GET /nothing", "", 404, jsonText, `{"error":{"code":"none"}}`, ""},
		{"GET /nothing", "", 404, "text/html", `no`, "of type"},
		{"GET /nothing", "", 200, jsonText, `{}`, "not in the document"},
		{"GET /things", "", 200, jsonText, `{"items":[{"name":"a","words":null}],"index":1,"event":1,"total":1}`, ""},
		{"GET /things", "", 200, jsonText, `{"items":[{"name":"a"}],"index":1,"event":1}`, "missing property 'words'"},
		{"GET /things?fields=name", "", 200, jsonText, `{"items":[{"name":"a"}],"index":1,"event":1}`, ""},
		{"GET /things?fields=name", "", 200, jsonText, `{"items":[{"name":1}],"index":1,"event":1}`, "got number, want string"},
		{"GET /things", "", 304, "", "", ""},
		{"GET /things", "", 304, "", "x", "has a body"},
		{"POST /things", `{"name":"a"}`, 201, jsonText, `{"name":"a","words":null}`, ""},
		{"POST /things", `{"nom":"a"}`, 201, jsonText, `{"name":"a","words":null}`, "was accepted"},
		{"POST /things", `{"nom":"a"}`, 400, jsonText, `{"error":{"code":"none"}}`, ""},
		{"GET /watch", "", 200, rows, "{\"name\":\"a\",\"words\":null}\n\n{\"error\":{\"code\":\"over\"}}\n{\"name", ""},
		{"GET /watch", "", 200, rows, `{"name":"a","words":null}` + "\n" + `{"size":1}` + "\n", "missing propert"},
		{"GET /watch", "", 200, "application/octet-stream", `a`, ""},
	} {
		method, path, _ := strings.Cut(q.request, " ")
		a := &conform.Answer{Request: httptest.NewRequest(method, path, nil), Asked: []byte(q.asked), Status: q.status, Body: []byte(q.body),
			Header: http.Header{"Content-Type": {q.kind}, "X-Mesita-Index": {"1"}}}
		if err := c.Check(a); (err == nil) != (q.wrong == "") || err != nil && !strings.Contains(err.Error(), q.wrong) {
			t.Errorf("%s %d %s: %v, want %q", q.request, q.status, q.body, err, q.wrong)
		}
	}
	if got := c.Unseen(); got != nil {
		t.Errorf("unseen: %v", got)
	}
}

func TestHeadersThatDiffer(t *testing.T) {
	c := checker(t)
	for name, h := range map[string]http.Header{"has no X-Mesita-Index": {}, "has X-Mesita-Other": {"X-Mesita-Index": {"1"}, "X-Mesita-Other": {"1"}}} {
		h.Set("Content-Type", "application/json")
		a := &conform.Answer{Request: httptest.NewRequest("GET", "/things/a", nil), Status: 200, Header: h, Body: []byte(`{"name":"a","words":null}`)}
		err := c.Check(a)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %s", err, name)
		}
	}
	if got := c.Unseen(); !slices.Equal(got, []string{"GET /things 200 application/json", "GET /things 304", "GET /things/{id} 200 application/json",
		"GET /watch 200 application/octet-stream", "GET /watch 200 application/x-ndjson", "POST /things 201 application/json"}) {
		t.Errorf("unseen: %q", got)
	}
}
