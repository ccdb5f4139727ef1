package server

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Below the level that knows versions a number is one, and what is none is refused. Once
// the level is reached the same file changes nothing: no task restarts, and the condition
// compares as it did; one that is written anew compares versions.
func TestConditionsOnVersionsNeedALevel(t *testing.T) {
	n := newTestNode(t, newWorld(), "oak", newStoreAt(t, fsm.Versions.Level()-1))
	n.world.lead("oak")
	token := n.token(api.RoleAdmin)
	put := func(condition string, status int) string {
		t.Helper()
		n.send(request{method: "PUT", path: "/v1/partitions/ml", body: `{"nodes":["` + condition + `"]}`, token: token}).want(t, status)
		e := n.send(request{method: "PUT", path: "/v1/jobs/web", body: `{"kind":"service","command":["x"],"constraints":["` + condition + `"],"prefer":["` + condition + `"]}`, token: token}).want(t, status)
		if e == nil {
			return ""
		}
		return e.Message
	}
	is := func(version int, byVersion bool) {
		t.Helper()
		j, p := n.store.View().Job("web"), n.store.View().Partition("ml")
		if j.Version != version || j.Spec.Constraints[0].ByVersion != byVersion || j.Spec.Prefer[0].ByVersion != byVersion || p.Nodes[0].ByVersion != byVersion {
			t.Errorf("version %d, %+v, %+v, want version %d, %v", j.Version, j.Spec.Placing, p.Nodes, version, byVersion)
		}
	}
	put("ver>=1.10", 200)
	is(1, false)
	if text := put("ver>=6.1.0", 409); !strings.Contains(text, "needs level 10") {
		t.Error(text)
	}
	do(t, n.store, &fsm.LevelSet{Meta: fsm.Meta{At: testTime}, Level: fsm.Newest})
	put("ver>=1.10", 200)
	is(1, false)
	put("ver>=1.11", 200)
	is(2, true)
	if text := put("ver>=6.1.0-rc1", 400); !strings.Contains(text, "neither a number nor a version") {
		t.Error(text)
	}
	is(2, true)
}
