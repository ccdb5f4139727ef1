package operator

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// If one of several roles was changed meanwhile, that change stays, and none is changed.
func TestRolesChangeTogetherOrNotAtAll(t *testing.T) {
	w := newAdmins(t)
	weigh := func(path string, weight api.Weight) {
		p := *w.store.View().Partition(path).Asked()
		p.Weight = weight
		w.do(&fsm.PartitionPut{Meta: fsm.Meta{At: testTime}, Partition: &p})
	}
	set := func(p *api.Partition) error { p.Weight = 4000; return nil }
	c := &exchange.Call{Server: w.x, R: httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1", nil), W: httptest.NewRecorder(), ID: auth.Identity{Role: api.RoleAdmin, Actor: "root"}}
	err := w.server.partitions(c, "UPDATE_WEIGHTS", []change{{"web", set}, {"web/api", func(p *api.Partition) error {
		weigh("web/api", 7000)
		return set(p)
	}}})
	v := w.store.View()
	if web, below := v.Partition("web").Weight, v.Partition("web/api").Weight; api.ErrorCode(err) != api.CodeConflict || web != 2500 || below != 7000 {
		t.Errorf("%v: the weights are %v and %v", err, web, below)
	}
	if err := w.server.partitions(c, "UPDATE_WEIGHTS", []change{{"web", set}, {"web/api", set}, {"web/api", set}}); err != nil || w.store.View().Partition("web/api").Weight != 4000 {
		t.Error(err)
	}
}
