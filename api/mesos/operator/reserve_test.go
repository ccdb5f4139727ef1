package operator

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// reserveCall is a call about an amount of elm that is reserved for a role.
func reserveCall(kind, role, cpus string) string {
	lower := strings.ToLower(kind)
	return `{"type":"` + kind + `","` + lower + `":{"agent_id":{"value":"elm"},"resources":[{"type":"SCALAR","name":"cpus","reservations":[{"type":"DYNAMIC","principal":"op","role":"` + role + `"}],"scalar":{"value":` + cpus + `}}]}}`
}

// An operator reserves what there is for a role that there is, up to what its partition may
// hold, and gives it back; all else changes nothing.
func TestReserveResources(t *testing.T) {
	const r, u = "RESERVE_RESOURCES", "UNRESERVE_RESOURCES"
	w := newAdmins(t)
	for _, c := range []struct {
		body   string
		status int
		says   string
		cpus   api.MilliCPU // reserved afterwards
	}{
		{reserveCall(r, "web", "1.5"), 202, "", 1500},
		{reserveCall(r, "web", "0.5"), 202, "", 2000},
		{reserveCall(r, "web", "900"), 409, "there is not so much room", 2000},
		{reserveCall(r, "nope", "1"), 400, "Unknown role 'nope'", 2000},
		{reserveCall(r, "*", "1"), 400, "cannot be dynamically reserved", 2000},
		{reserveCall(r, "web", "0"), 400, "is nothing", 2000},
		{reserveCall(r, "web", "-1"), 400, "cpus of -1", 2000},
		{strings.ReplaceAll(reserveCall(r, "web", "1"), "elm", "x"), 400, "No agent found", 2000},
		{`{"type":"RESERVE_RESOURCES"}`, 400, "Expecting 'reserve_resources' to be present", 2000},
		{reserveCall(u, "web", "3"), 409, "not as much is reserved so", 2000},
		{strings.ReplaceAll(reserveCall(u, "web", "1"), `"op"`, `"another"`), 409, "not as much is reserved so", 2000},
		{reserveCall(u, "web", "2"), 202, "", 0},
	} {
		status, body := w.ask(c.body)
		v := w.store.View()
		var cpus api.MilliCPU
		for r := range v.Reservations("elm") {
			cpus += r.Resources.CPUs
		}
		if status != c.status || !strings.Contains(body, c.says) || cpus != c.cpus || v.Usage("web").Allocated.CPUs < cpus {
			t.Errorf("%s: %d %q, %s is reserved", c.body, status, body, cpus)
		}
	}
}

func TestReserveResourcesNeedsRights(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	w.token = w.newToken("admin@web")
	if status, body := w.ask(reserveCall("RESERVE_RESOURCES", "web", "1")); status != 403 || len(*w.audit) != 1 || (*w.audit)[0].Outcome != api.AuditRefused {
		t.Errorf("%d %q, recorded %+v", status, body, *w.audit)
	}
}

// What is reserved of an agent is in all that it has once, with the role that has it.
func TestTotalsTellWhatIsReserved(t *testing.T) {
	w := newAdmins(t)
	total := func() (plain, reserved float64) {
		_, body := w.ask(`{"type":"GET_AGENTS"}`)
		var m struct {
			GetAgents struct {
				Agents []struct {
					AgentInfo struct{ ID struct{ Value string } } `json:"agent_info"`
					Total     []struct {
						Name, Role string
						Scalar     struct{ Value float64 }
					} `json:"total_resources"`
				}
			} `json:"get_agents"`
		}
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatal(err, body)
		}
		for _, a := range m.GetAgents.Agents {
			for _, r := range a.Total {
				switch {
				case a.AgentInfo.ID.Value != "elm" || r.Name != "cpus":
				case r.Role == "web":
					reserved += r.Scalar.Value
				default:
					plain += r.Scalar.Value
				}
			}
		}
		return plain, reserved
	}
	all, _ := total()
	if status, body := w.ask(reserveCall("RESERVE_RESOURCES", "web", "1.5")); status != 202 {
		t.Fatal(body)
	}
	if plain, reserved := total(); plain != all-1.5 || reserved != 1.5 {
		t.Errorf("of %v, %v are reserved and %v are not", all, reserved, plain)
	}
}

// The forms of old do what the calls do, for who may, and are recorded.
func TestReserveForms(t *testing.T) {
	w := newAdmins(t)
	admin := w.token
	const web = `[{"name":"cpus","type":"SCALAR","scalar":{"value":1.5},"role":"web","reservation":{"principal":"op"}}]`
	form := func(id, resources string) string {
		return url.Values{"slaveId": {id}, "resources": {resources}}.Encode()
	}
	for _, c := range []struct {
		path, token, body string
		status            int
		says              string
		cpus              api.MilliCPU // reserved afterwards
	}{
		{"/reserve", admin, "slaveId=elm", 400, "Missing 'resources'", 0},
		{"/reserve", admin, form("", web), 400, "Missing 'slaveId'", 0},
		{"/reserve", admin, "slaveId=%zz", 400, "decode", 0},
		{"/reserve", admin, form("elm", "["), 400, "it is not JSON", 0},
		{"/reserve", admin, form("elm", `{"name":"cpus"}`), 400, "Error in parsing 'resources'", 0},
		{"/reserve", admin, form("elm", `[{"type":"SCALAR"}]`), 400, "Error in parsing 'resources'", 0},
		{"/reserve", admin, form("elm", strings.ReplaceAll(web, "1.5", "900")), 409, "there is not so much room", 0},
		{"/reserve", admin, form("nobody", web), 400, "No agent found", 0},
		{"/reserve", admin, form("elm", "["+strings.Repeat(" ", maxForm)+"]"), 413, "", 0},
		{"/reserve", w.newToken("admin@web"), form("elm", web), 403, "", 0},
		{"/reserve", admin, form("elm", web), 202, "", 1500},
		{"/master/unreserve", w.newToken("operator"), form("elm", web), 403, "", 1500},
		{"/master/unreserve", admin, form("elm", web), 202, "", 0},
	} {
		before := len(*w.audit)
		status, body := w.post(c.path, c.token, c.body)
		var cpus api.MilliCPU
		for r := range w.store.View().Reservations("elm") {
			cpus += r.Resources.CPUs
		}
		if status != c.status || !strings.Contains(body, c.says) || cpus != c.cpus || status == 202 && body != "" {
			t.Errorf("%s %.60s: %d %q, %s is reserved", c.path, c.body, status, body, cpus)
		}
		if n := len(*w.audit); (status == 202 || status == 403) && (n == before || (*w.audit)[n-1].Object != "elm" && status == 202) {
			t.Errorf("%s %.60s: recorded %+v", c.path, c.body, (*w.audit)[before:])
		}
	}
}

// Quota and weights are set as by the calls of today, for who may, and are recorded.
func TestQuotaAndWeightsOfOld(t *testing.T) {
	w := newAdmins(t)
	admin := w.token
	const quota = `{"role":"web","guarantee":[{"name":"cpus","type":"SCALAR","scalar":{"value":1.5}}]}`
	for _, c := range []struct {
		method, path, token, body string
		status                    int
		says                      string
		cpus                      api.MilliCPU // guaranteed to web afterwards
		weight                    api.Weight
	}{
		{"POST", "/quota", admin, "{", 400, "it is not JSON", 0, 2500},
		{"POST", "/quota", admin, "[]", 400, "Failed to convert", 0, 2500},
		{"POST", "/quota", admin, strings.ReplaceAll(quota, "web", "nope"), 400, "Unknown role 'nope'", 0, 2500},
		{"POST", "/quota", admin, strings.ReplaceAll(quota, "1.5", "1e6"), 409, "Not enough available cluster capacity", 0, 2500},
		{"POST", "/quota", w.newToken("operator"), quota, 403, "", 0, 2500},
		{"POST", "/quota", admin, quota, 200, "", 1500, 2500},
		{"PUT", "/weights", w.newToken("viewer"), `[{"role":"web","weight":2}]`, 403, "", 1500, 2500},
		{"PUT", "/weights", admin, `[{"role":"web","weight":0}]`, 400, "Invalid weight '0'", 1500, 2500},
		{"PUT", "/master/weights", admin, `[{"role":"web","weight":2}]`, 200, "", 1500, 2000},
		{"DELETE", "/quota/nope", admin, "", 400, "Unknown role 'nope'", 1500, 2000},
		{"DELETE", "/master/quota/web", w.newToken("deployer"), "", 403, "", 1500, 2000},
		{"DELETE", "/master/quota/web", admin, "", 200, "", 0, 2000},
	} {
		before := len(*w.audit)
		status, body := w.request(c.method, c.path, c.token, c.body)
		p := w.store.View().Partition("web")
		if status != c.status || !strings.Contains(body, c.says) || status == 200 && body != "" || p.Guarantee.CPUs != c.cpus || status == 200 && p.Limit.CPUs != c.cpus || p.Weight != c.weight {
			t.Errorf("%s %s %s: %d %q, %+v", c.method, c.path, c.body, status, body, p)
		}
		if n := len(*w.audit); (status == 200 || status == 403) && n == before || status == 200 && (*w.audit)[n-1].Object != "web" {
			t.Errorf("%s %s %s: recorded %+v", c.method, c.path, c.body, (*w.audit)[before:])
		}
	}
}

// post sends a form, without a connection: that of one that is too large is closed before
// all of it is sent.
func (w *world) post(path, token, body string) (int, string) {
	return w.request(http.MethodPost, path, token, body)
}

func (w *world) request(method, path, token, body string) (int, string) {
	req := httptest.NewRequestWithContext(w.t.Context(), method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+token)
	res := httptest.NewRecorder()
	w.http.Config.Handler.ServeHTTP(res, req)
	return res.Code, res.Body.String()
}

// Below the level that has frameworks nothing is reserved, in either way.
func TestNothingIsReservedBelowTheLevel(t *testing.T) {
	w := newWorldAt(t, auth.Bearer, fsm.Frameworks.Level()-1)
	w.token = w.newToken("admin")
	if status, body := w.ask(reserveCall("RESERVE_RESOURCES", "web", "1")); status != 503 || !strings.Contains(body, "does not have the APIs of Mesos yet") {
		t.Errorf("%d %q", status, body)
	}
	if status, body := w.post("/reserve", w.token, ""); status != 503 || !strings.Contains(body, "does not have the APIs of Mesos yet") {
		t.Errorf("%d %q", status, body)
	}
	_, err := w.store.Do(t.Context(), &fsm.ReservationChange{Meta: fsm.Meta{At: testTime}, NodeID: "elm",
		Steps: []fsm.ReservationStep{{Kind: fsm.StepReserve, Partition: "web", Resources: api.Resources{CPUs: 100}}}})
	if err == nil || w.store.View().ReservationCount() != 0 {
		t.Errorf("the state took it: %v", err)
	}
}

// volumeCall is a call about a volume of elm.
func volumeCall(kind, id, mb string) string {
	return `{"type":"` + kind + `","` + strings.ToLower(kind) + `":{"agent_id":{"value":"elm"},"volumes":[` + volumeOf(id, mb) + `]}}`
}

func volumeOf(id, mb string) string {
	return `{"type":"SCALAR","name":"disk","reservations":[{"type":"DYNAMIC","principal":"op","role":"web"}],"scalar":{"value":` + mb + `},` +
		`"disk":{"persistence":{"id":"` + id + `","principal":"op"},"volume":{"container_path":"data","mode":"RW"}}}`
}

// newVolumeAdmins has 100 MB of elm's disk reserved.
func newVolumeAdmins(t *testing.T) *world {
	w := newAdmins(t)
	if _, err := w.store.Do(t.Context(), &fsm.NodeHello{Meta: fsm.Meta{At: testTime}, ID: "elm", Hello: api.NodeHello{Addr: "10.0.0.2:5050", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 4000, Mem: 4 << 30, Disk: 1 << 30}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Do(t.Context(), &fsm.ReservationChange{Meta: fsm.Meta{At: testTime}, NodeID: "elm", Steps: []fsm.ReservationStep{
		{Kind: fsm.StepReserve, Partition: "web", Principal: "op", Resources: api.Resources{Disk: 100 << 20}}}}); err != nil {
		t.Fatal(err)
	}
	return w
}

// An operator makes volumes of what is reserved and destroys them; agents tell of them, and all
// else changes nothing.
func TestCreateAndDestroyVolumes(t *testing.T) {
	const create, destroy = "CREATE_VOLUMES", "DESTROY_VOLUMES"
	w := newVolumeAdmins(t)
	for _, c := range []struct {
		body    string
		status  int
		says    string
		volumes int // afterwards
	}{
		{volumeCall(create, "v1", "60"), 202, "", 1},
		{volumeCall(create, "v1", "10"), 409, "has a volume v1 on node elm already", 1},
		{volumeCall(create, "v2", "60"), 409, "not as much is reserved so", 1},
		{volumeCall(create, "..", "10"), 400, "is not a name of a volume", 1},
		{strings.ReplaceAll(volumeCall(create, "v2", "10"), "elm", "x"), 400, "No agent found", 1},
		{strings.ReplaceAll(volumeCall(create, "v2", "10"), "RW", "RO"), 400, "give them the mode RW", 1},
		{`{"type":"CREATE_VOLUMES"}`, 400, "Expecting 'create_volumes' to be present", 1},
		{volumeCall(create, "v2", "40"), 202, "", 2},
		{volumeCall(destroy, "v3", "40"), 409, "has no volume v3 on node elm", 2},
		{volumeCall(destroy, "v1", "40"), 409, "it is destroyed as a whole", 2},
		{`{"type":"GROW_VOLUME"}`, 501, "stays as large as it was made", 2},
		{volumeCall(destroy, "v1", "60"), 202, "", 1},
		{volumeCall(destroy, "v2", "40"), 202, "", 0},
	} {
		status, body := w.ask(c.body)
		_, agents := w.ask(`{"type":"GET_AGENTS"}`)
		if n := len(w.store.View().VolumeFolders("elm")); status != c.status || !strings.Contains(body, c.says) || n != c.volumes || strings.Contains(agents, `"container_path":"data"`) != (n > 0) {
			t.Errorf("%s: %d %q, %d volumes in %s", c.body, status, body, n, agents)
		}
	}
	if u := w.store.View().Usage("web"); u.Allocated.Disk != 100<<20 || u.Reservations != 1 {
		t.Errorf("the partition holds %s by %d", u.Allocated, u.Reservations)
	}
	w.token = w.newToken("admin@web")
	if status, _ := w.ask(volumeCall(create, "v1", "60")); status != 403 {
		t.Errorf("an admin of a partition: %d", status)
	}
}

// The forms of old do the same.
func TestVolumeForms(t *testing.T) {
	w := newVolumeAdmins(t)
	form := func(list string) string { return url.Values{"slaveId": {"elm"}, "volumes": {list}}.Encode() }
	of := strings.Replace(volumeOf("v1", "60"), `"reservations":[{"type":"DYNAMIC","principal":"op","role":"web"}]`, `"role":"web","reservation":{"principal":"op"}`, 1)
	for _, c := range []struct {
		path, body string
		status     int
		says       string
		volumes    int // afterwards
	}{
		{"/create-volumes", "slaveId=elm", 400, "Missing 'volumes'", 0},
		{"/create-volumes", form("["), 400, "Error in parsing 'volumes'", 0},
		{"/create-volumes", form("[" + of + "]"), 202, "", 1},
		{"/unreserve", url.Values{"slaveId": {"elm"}, "resources": {"[" + of + "]"}}.Encode(), 400, "DESTROY it", 1},
		{"/master/destroy-volumes", form("[" + of + "]"), 202, "", 0},
	} {
		status, body := w.post(c.path, w.token, c.body)
		if n := len(w.store.View().VolumeFolders("elm")); status != c.status || !strings.Contains(body, c.says) || n != c.volumes {
			t.Errorf("%s %.60s: %d %q, %d volumes", c.path, c.body, status, body, n)
		}
	}
}

// Below the level that has volumes none is made.
func TestNoVolumesBelowTheLevel(t *testing.T) {
	w := newWorldAt(t, auth.Bearer, fsm.Volumes.Level()-1)
	w.token = w.newToken("admin")
	if status, body := w.ask(volumeCall("CREATE_VOLUMES", "v1", "1")); status != 503 || !strings.Contains(body, "does not have persistent volumes yet") {
		t.Errorf("%d %q", status, body)
	}
	_, err := w.store.Do(t.Context(), &fsm.ReservationChange{Meta: fsm.Meta{At: testTime}, NodeID: "elm",
		Steps: []fsm.ReservationStep{{Kind: fsm.StepCreate, Partition: "web", Resources: api.Resources{Disk: 100}, Volume: &api.Volume{ID: "v1", Path: "data"}}}})
	if err == nil || !strings.Contains(err.Error(), "needs level 12") {
		t.Errorf("the state took it: %v", err)
	}
}
