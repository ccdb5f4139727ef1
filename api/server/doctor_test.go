package server

import (
	"encoding/json"
	"testing"

	"github.com/mesita/mesita/api"
)

// All nodes that answer are heard, whichever is asked; of the others it is said that they
// are not.
func TestDoctorAsksAllNodes(t *testing.T) {
	oak, elm := runningOnOak(t)
	addNode(t, oak.store, "fir") // has no server
	var got struct {
		Items   []api.Check
		Missing []struct{ Node, Reason string }
	}
	r := elm.send(request{method: "GET", path: "/v1/doctor", token: oak.token(api.RoleAdmin)})
	r.want(t, 200)
	if err := json.Unmarshal(r.body, &got); err != nil || len(got.Items) != 2 || len(got.Missing) != 1 || got.Missing[0].Node != "fir-name" {
		t.Errorf("%v: %s", err, r.body)
	}
	got.Items, got.Missing = nil, nil
	r = elm.send(request{method: "GET", path: "/v1/doctor?node=oak", token: oak.token(api.RoleAdmin)})
	r.want(t, 200)
	if err := json.Unmarshal(r.body, &got); err != nil || len(got.Items) != 1 || len(got.Missing) != 0 {
		t.Errorf("%v: %s", err, r.body)
	}
	elm.send(request{method: "GET", path: "/v1/doctor?node=none", token: oak.token(api.RoleAdmin)}).want(t, 404)
}
