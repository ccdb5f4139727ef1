package server

import (
	"fmt"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// A dry run is of the whole job, whether or not what it needs is uploaded by then: what
// it is refused for, and what is changed by it, do not depend on that; and it leaves
// nothing behind.
func TestADryRunIsOfWhatIsNotUploadedYet(t *testing.T) {
	job := func(files string) string {
		return fmt.Sprintf(`{"name":"web","kind":"service","command":["x"],"files":{%s}}`, files)
	}
	withFile := job(`"a":"` + helloDigest + `"`)
	ways := map[string]func(body string) request{
		"create": func(body string) request { return request{method: "POST", path: "/v1/jobs?dry_run=1", body: body} },
		"put":    func(body string) request { return request{method: "PUT", path: "/v1/jobs/web?dry_run=1", body: body} },
		"apply": func(body string) request {
			return request{method: "POST", path: "/v1/apply?dry_run=1", body: `{"jobs":[` + body + `]}`}
		},
	}
	for name, way := range ways {
		for level := fsm.Files.Level() - 1; level <= fsm.Newest; level++ {
			w := newWorld()
			n := newTestNode(t, w, "oak", newStoreAt(t, level))
			w.lead("oak")
			q := way(withFile)
			q.token = n.token(api.RoleAdmin)
			want := 200
			if level < fsm.Files.Level() {
				want = 409
			}
			if r := n.send(q); r.StatusCode != want {
				t.Errorf("%s at level %d: %d %s", name, level, r.StatusCode, r.body)
			}
			if n.store.View().Blob(helloDigest) != nil {
				t.Errorf("%s: the dry run has put an upload into the state", name)
			}
		}
	}
}

// It says what is not there, of each job that needs it, until it is uploaded.
func TestADryRunSaysWhatIsNotUploaded(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	job := func(name string) string {
		return fmt.Sprintf(`{"name":%q,"kind":"service","command":["x"],"files":{"a":%q}}`, name, helloDigest)
	}
	for _, want := range []string{"[" + helloDigest + "]", "[]"} {
		got := []*api.Plan{new(into[api.Plan](t, n.send(request{method: "PUT", path: "/v1/jobs/a?dry_run=1", body: job("a"), token: admin})))}
		for _, did := range into[api.ApplyAnswer](t, n.apply(admin, "?dry_run=1", `{"jobs":[`+job("a")+`,`+job("b")+`]}`)).Items {
			got = append(got, did.Plan)
		}
		if len(got) != 3 {
			t.Fatalf("%d plans", len(got))
		}
		for _, p := range got {
			if fmt.Sprint(p.Lacks) != want {
				t.Errorf("%s lacks %v, want %s", p.Job, p.Lacks, want)
			}
		}
		do(t, n.store, &fsm.BlobPut{Meta: fsm.Meta{At: testTime}, Blob: &api.Blob{Digest: helloDigest}, NodeID: "oak"})
	}
}
