package operator

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// removes remembers which nodes were to be removed.
type removes []string

func (r *removes) RemoveNode(_ context.Context, n *api.Node, force bool, actor string) error {
	if !force {
		return api.Errorf(api.CodeConflict, "not by force")
	}
	*r = append(*r, n.ID)
	return nil
}

// newAdmins is a world whose calls show the token of an admin.
func newAdmins(t *testing.T) *world {
	w := newWorld(t, auth.Bearer)
	w.token = w.newToken("admin")
	return w
}

// ask makes a call as JSON, and returns its status and body.
func (w *world) ask(body string) (int, string) {
	w.t.Helper()
	res := w.send(http.MethodPost, []byte(body), http.Header{"Content-Type": {"application/json"}})
	b := w.text(res)
	return res.StatusCode, b
}

const (
	weight2  = `{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"role":"web","weight":2.0}]}}`
	drainElm = `{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"elm"},"max_grace_period":{"seconds":600}}}`
	teardown = `{"type":"TEARDOWN","teardown":{"framework_id":{"value":"f1"}}}`
	goneElm  = `{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"elm"}}}`
)

// Each call that changes something answers 200 without a body and is done, or says why not
// with the status of Mesos and changes nothing.
func TestChanges(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		status int
		says   string
		then   func(v *fsm.View) bool // holds after a change, and not before
	}{
		"weights":              {weight2, 200, "", func(v *fsm.View) bool { return v.Partition("web").Weight == 2000 }},
		"weight of 0":          {`{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"role":"*","weight":3},{"role":"web","weight":0}]}}`, 400, "Invalid weight '0' for role 'web'", nil},
		"weight of an unknown": {`{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"role":"web","weight":3},{"role":"nope","weight":1}]}}`, 400, "Unknown role 'nope'", nil},
		"no weights":           {`{"type":"UPDATE_WEIGHTS"}`, 400, "Failed to validate master::Call: Expecting 'update_weights' to be present", nil},
		"quota": {`{"type":"UPDATE_QUOTA","update_quota":{"force":false,"quota_configs":[{"role":"web","guarantees":{"cpus":{"value":1.5}},"limits":{"cpus":{"value":3},"mem":{"value":2048}}}]}}`, 200, "",
			func(v *fsm.View) bool {
				p := v.Partition("web")
				return p.Guarantee.CPUs == 1500 && p.Guarantee.Mem == 0 && p.Limit.CPUs == 3000 && p.Limit.Mem == 2<<30
			}},
		"quota above its limit": {`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"web","guarantees":{"cpus":{"value":2}},"limits":{"cpus":{"value":1}}}]}}`, 400, "guarantee", nil},
		"more than there is":    {`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"web","guarantees":{"cpus":{"value":90}}}]}}`, 409, "Not enough available cluster capacity", nil},
		"more, by force":        {`{"type":"UPDATE_QUOTA","update_quota":{"force":true,"quota_configs":[{"role":"web","guarantees":{"cpus":{"value":90}}}]}}`, 409, "'force' does not change that", nil},
		"a quota below zero":    {`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"web","limits":{"cpus":{"value":-1}}}]}}`, 400, "cpus of -1 is not an amount", nil},
		"half a GPU":            {`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"web","limits":{"gpus":{"value":0.5}}}]}}`, 400, "only whole ones", nil},
		"quota of old": {`{"type":"SET_QUOTA","set_quota":{"quota_request":{"role":"web","guarantee":[{"name":"mem","type":"SCALAR","scalar":{"value":512}}]}}}`, 200, "",
			func(v *fsm.View) bool {
				p := v.Partition("web")
				return p.Guarantee.Mem == 512<<20 && p.Limit.Mem == 512<<20 && p.Limit.CPUs == 0
			}},
		"no quota":           {`{"type":"REMOVE_QUOTA","remove_quota":{"role":"web"}}`, 200, "", func(v *fsm.View) bool { return v.Partition("web").Limit.IsZero() }},
		"teardown":           {teardown, 200, "", func(v *fsm.View) bool { return !v.Framework("f1").Ended.IsZero() }},
		"teardown of no one": {`{"type":"TEARDOWN","teardown":{"framework_id":{"value":"f9"}}}`, 400, "No framework found with specified ID", nil},
		"teardown of ours":   {`{"type":"TEARDOWN","teardown":{"framework_id":{"value":"mesita"}}}`, 400, "No framework found with specified ID", nil},
		"drain": {drainElm, 200, "", func(v *fsm.View) bool {
			n := v.Node("elm")
			return n.Drain && n.DrainBy.Equal(testTime.Add(10*time.Minute))
		}},
		"drain at once":       {`{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"elm"}}}`, 200, "", func(v *fsm.View) bool { return v.Node("elm").DrainBy.Equal(testTime) }},
		"drain of no one":     {`{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"x"}}}`, 400, "Unknown agent", nil},
		"drain for a month":   {`{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"elm"},"max_grace_period":{"seconds":2592000}}}`, 400, "max_grace_period", nil},
		"drain and gone":      {`{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"elm"},"mark_gone":true}}`, 400, "MARK_AGENT_GONE", nil},
		"deactivate":          {`{"type":"DEACTIVATE_AGENT","deactivate_agent":{"agent_id":{"value":"elm"}}}`, 200, "", func(v *fsm.View) bool { n := v.Node("elm"); return n.Drain && n.DrainBy.IsZero() }},
		"deactivate no one":   {`{"type":"DEACTIVATE_AGENT","deactivate_agent":{"agent_id":{"value":"x"}}}`, 400, "Unknown agent", nil},
		"gone, of no one":     {`{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"x"}}}`, 404, "Unknown agent", nil},
		"maintenance":         {`{"type":"START_MAINTENANCE","start_maintenance":{"machines":[{"hostname":"ELM","ip":"10.0.0.12"}]}}`, 200, "", func(v *fsm.View) bool { return v.Node("elm").Drain }},
		"of two that are one": {`{"type":"START_MAINTENANCE","start_maintenance":{"machines":[{"hostname":"elm","ip":"10.0.0.11"}]}}`, 400, "Machine 'elm' (10.0.0.11) is not part of the cluster", nil},
		"of nothing":          {`{"type":"START_MAINTENANCE","start_maintenance":{"machines":[{}]}}`, 400, "neither a hostname nor an IP", nil},
		"of no machines":      {`{"type":"STOP_MAINTENANCE","stop_maintenance":{}}`, 400, "List of machines is empty", nil},
		"of one that is none": {`{"type":"START_MAINTENANCE","start_maintenance":{"machines":[{"hostname":"elm"},{"hostname":"x"}]}}`, 400, "Machine 'x'", nil},
		"a schedule":          {`{"type":"UPDATE_MAINTENANCE_SCHEDULE","update_maintenance_schedule":{"schedule":{}}}`, 501, "keeps no schedule", nil},
		"a level of the log":  {`{"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":3,"duration":{"nanoseconds":1}}}`, 501, "has one level", nil},
		"files":               {`{"type":"LIST_FILES","list_files":{"path":"/"}}`, 501, "asked of the agent", nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAdmins(t)
			before := w.store.View()
			if c.then != nil && c.then(before) {
				t.Fatal("it is so before")
			}
			status, body := w.ask(c.body)
			if status != c.status || !strings.Contains(body, c.says) || c.status == 200 && body != "" {
				t.Fatalf("%d %q", status, body)
			}
			now := w.store.View()
			switch {
			case c.then != nil && !c.then(now):
				t.Error("it is not done")
			case c.then == nil && now.Index() != before.Index():
				t.Error("something was changed")
			}
			if recorded := len(*w.audit); c.status == 200 && (recorded != 1 || (*w.audit)[0].Outcome != api.AuditDone || (*w.audit)[0].Asked == "") {
				t.Errorf("%+v", *w.audit)
			}
		})
	}
}

// What was drained is in maintenance until it is back; with its tasks gone it is down.
func TestMaintenance(t *testing.T) {
	w := newAdmins(t)
	w.ask(drainElm)
	if s := w.get(wire.Protobuf, v1.MasterCallTypeGetMaintenanceStatus).GetMaintenanceStatus.Status; len(s.DrainingMachines) != 1 || v1.Get(s.DrainingMachines[0].ID.Hostname) != "elm" || len(s.DownMachines) != 0 {
		t.Errorf("%+v", s)
	}
	for _, a := range w.get(wire.JSON, v1.MasterCallTypeGetAgents).GetAgents.Agents {
		if d := a.DrainInfo; (a.AgentInfo.ID.Value == "elm") != (d != nil) || d != nil && (a.Active || !v1.Get(a.Deactivated) || d.State != v1.DrainStateDraining || d.Config.MaxGracePeriod.Nanoseconds != int64(10*time.Minute)) {
			t.Errorf("%+v", a)
		}
	}
	w.becomes("t1", api.TaskFinished)
	if s := w.get(wire.JSON, v1.MasterCallTypeGetMaintenanceStatus).GetMaintenanceStatus.Status; len(s.DownMachines) != 1 {
		t.Errorf("%+v", s)
	}
	if s := w.get(wire.JSON, v1.MasterCallTypeGetMaintenanceSchedule).GetMaintenanceSchedule.Schedule; len(s.Windows) != 1 || s.Windows[0].Unavailability.Start.Nanoseconds != testTime.UnixNano() {
		t.Errorf("%+v", s)
	}
	if status, b := w.ask(`{"type":"REACTIVATE_AGENT","reactivate_agent":{"agent_id":{"value":"elm"}}}`); status != 200 || w.store.View().Node("elm").Drain {
		t.Error(status, b)
	}
}

// A node is removed by force, and once it is gone the same again is fine.
func TestMarkAgentGone(t *testing.T) {
	w := newAdmins(t)
	r := &removes{}
	w.server.Nodes = r
	if status, b := w.ask(goneElm); status != 200 || len(*r) != 1 {
		t.Errorf("%d %s %v", status, b, *r)
	}
	w.do(&fsm.NodeRemove{Meta: fsm.Meta{At: testTime}, ID: "elm", Force: true})
	if status, b := w.ask(goneElm); status != 200 || len(*r) != 1 {
		t.Errorf("%d %s %v", status, b, *r)
	}
}

// Who may not is refused with 403, which is recorded, and changes nothing.
func TestChangesNeedRights(t *testing.T) {
	for name, c := range map[string]struct {
		right  string
		status int
		body   string
	}{
		"weights, of a deployer":            {"deployer@web", 403, weight2},
		"weights, of an admin of the role":  {"admin@web", 403, weight2}, // it would be a larger share of what is above
		"weights, of an admin of above":     {"admin@web", 200, strings.ReplaceAll(weight2, `"web"`, `"web/api"`)},
		"weights, of an admin of another's": {"admin@default", 403, weight2},
		"teardown, of a viewer":             {"viewer@web", 403, teardown},
		"a drain, of an admin of a role":    {"admin@web", 403, drainElm},
		"gone, of an admin of a role":       {"admin@web", 403, goneElm},
		"teardown, of who does not see it":  {"admin@default", 400, teardown},
		"teardown, of a deployer":           {"deployer@web", 200, teardown},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, auth.Bearer)
			w.server.Nodes, w.token = &removes{}, w.newToken(c.right)
			before := w.store.View().Index()
			status, body := w.ask(c.body)
			if status != c.status || status == 403 && w.store.View().Index() != before {
				t.Errorf("%d %s", status, body)
			}
			if status == 403 && (len(*w.audit) != 1 || (*w.audit)[0].Outcome != api.AuditRefused || (*w.audit)[0].Action == "look") {
				t.Errorf("%+v", *w.audit)
			}
		})
	}
}

// What only reads is not recorded.
func TestReadsAreNotRecorded(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	for kind := range responses {
		w.get(wire.JSON, kind)
	}
	if len(*w.audit) != 0 {
		t.Errorf("%+v", *w.audit)
	}
}

// Roles, weights and quota are those of partitions.
func TestGetRolesWeightsAndQuota(t *testing.T) {
	each(t, func(t *testing.T, w *world, format wire.Format) {
		for _, r := range w.get(format, v1.MasterCallTypeGetRoles).GetRoles.Roles {
			switch r.Name {
			case "*":
				if r.Weight != 1 || amount(r.Resources, "cpus") != 0.1 {
					t.Errorf("%+v", r)
				}
			case "web":
				if r.Weight != 2.5 || len(r.Frameworks) != 1 || r.Frameworks[0].Value != "f1" || amount(r.Resources, "cpus") != 0.75 {
					t.Errorf("%+v", r)
				}
			}
		}
		if ws := w.get(format, v1.MasterCallTypeGetWeights).GetWeights.WeightInfos; len(ws) != 2 || ws[0].Weight != 2.5 {
			t.Errorf("%+v", ws)
		}
		q := w.get(format, v1.MasterCallTypeGetQuota).GetQuota.Status
		if len(q.Configs) != 2 || q.Configs[0].Role != "web" || q.Configs[0].Limits["mem"].Value != 1024 || len(q.Configs[0].Guarantees) != 0 {
			t.Errorf("%+v", q)
		}
		if m := w.get(format, v1.MasterCallTypeGetMaster).GetMaster; m.MasterInfo.ID != "m1" || v1.Get(m.MasterInfo.PID) != "master@10.0.0.11:5050" || v1.Get(m.ElectedTime) != float64(testTime.Unix()) {
			t.Errorf("%+v", m)
		}
		flags := map[string]string{}
		for _, f := range w.get(format, v1.MasterCallTypeGetFlags).GetFlags.Flags {
			flags[f.Name] = v1.Get(f.Value)
		}
		if flags["cluster"] != "pine" || flags["port"] != "5050" {
			t.Error(flags)
		}
	})
}
