package server

import (
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// The document is one of OpenAPI 3.1, by another's reading of that.
func TestOpenAPIIsWellFormed(t *testing.T) {
	r := newLeader(t).send(request{method: "GET", path: "/v1/openapi.json"})
	doc, err := openapi3.NewLoader().LoadFromData(r.body)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
}

// Each parameter is said what it means, and none that no route has.
func TestParametersAreDescribed(t *testing.T) {
	all, used := params(), map[string]bool{}
	for _, r := range routeTable(nil) {
		for i, p := range paramsOf(r, all) {
			name := r.Params()[i]
			if p.About == "" {
				t.Errorf("%s %s: nothing is said of %s", r.Method, r.Path, name)
			}
			used[name], used[r.Path+"?"+name] = true, true
		}
	}
	for name := range all {
		if !used[name] {
			t.Errorf("no route has %s", name)
		}
	}
}
