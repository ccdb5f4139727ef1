package server

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// A token that does not say what it is for is none: left out, it would let nodes in.
func TestATokenSaysWhatItIsFor(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	before := 0
	for range n.store.View().Tokens() {
		before++
	}
	for _, body := range []string{`{}`, `{"role":"viewer"}`, `{"maxUses":1}`, `{"kind":null}`} {
		if e := n.send(request{method: "POST", path: "/v1/tokens", body: body, token: admin}).want(t, 400); e.Field != "kind" || !strings.Contains(e.Message, "missing") {
			t.Errorf("%s: %+v", body, e)
		}
	}
	after := 0
	for range n.store.View().Tokens() {
		after++
	}
	if after != before {
		t.Errorf("%d tokens were made", after-before)
	}
	n.send(request{method: "POST", path: "/v1/tokens", body: `{"kind":"join"}`, token: admin}).want(t, 201)
}

// Nobody gets rights in a partition that is not there, also not beside others; those
// that were given before may be taken.
func TestRightsInNoPartition(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	n.send(request{method: "PUT", path: "/v1/partitions/prod", body: `{}`, token: admin}).want(t, 200)
	n.with("ci", "viewer@gone")
	for body, status := range map[string]int{`{"grant":["viewer@nope"]}`: 400, `{"grant":["viewer","deployer@nope/web-*"]}`: 400, `{"grant":["viewer@prod/nope"]}`: 400,
		`{"grant":["viewer@prod","deployer@nope-*"]}`: 200, `{"revoke":["viewer@gone"],"grant":["viewer@default"]}`: 200} {
		e := n.send(request{method: "POST", path: "/v1/tokens/ci/rights", body: body, token: admin}).want(t, status)
		if status == 400 && (e.Field != "grant" || !strings.Contains(e.Message, "there is no partition")) {
			t.Errorf("%s: %+v", body, e)
		}
	}
	e := n.send(request{method: "POST", path: "/v1/tokens", body: `{"kind":"client","rights":["viewer@nope"]}`, token: admin}).want(t, 400)
	if e.Field != "rights" || !strings.Contains(e.Message, "nope") {
		t.Errorf("%+v", e)
	}
}

// The zone of a partition's hours is one that all machines know, and not their own.
func TestZonesOfHours(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	for zone, status := range map[string]int{"Europe/Berlin": 200, "": 200, "Local": 400, "No/Such": 400, "../../etc/passwd": 400} {
		body := `{"adjust":{"max":{"cpus":"8"},"hours":[{"days":"mon-fri","from":"08:00","to":"18:00","zone":"` + zone + `","guarantee":{"cpus":"4"}}]}}`
		e := n.send(request{method: "PUT", path: "/v1/partitions/prod", body: body, token: admin}).want(t, status)
		if status == 400 && e.Field != "adjust.hours.zone" {
			t.Errorf("%q: %+v", zone, e)
		}
	}
}
