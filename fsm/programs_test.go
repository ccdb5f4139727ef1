package fsm

import (
	"testing"

	"github.com/mesita/mesita/api"
)

// A program is used as long as a version of a job runs it that is kept: BlobRemove leaves
// it alone until then, and the counts by which it knows are those of the jobs, and of who
// reads a snapshot, too.
func TestAProgramIsUsedWhileAVersionIsKept(t *testing.T) {
	w := newWorld(t, Newest, 2)
	put := func(d string) {
		w.do(&BlobPut{Meta: w.at(), NodeID: nodeID(0), Blob: &api.Blob{Digest: d, Name: d}})
	}
	spec := func(d string) *api.JobSpec {
		s := testSpec(api.KindService, "web", 1)
		s.Program = d
		return s
	}
	removed := func(want int, digests ...string) {
		t.Helper()
		v, err := w.Do(t.Context(), &BlobRemove{Meta: w.at(), Digests: digests})
		if err != nil || v != want {
			t.Errorf("of %v %v were removed, %v", digests, v, err)
		}
		checkSums(t, w.View())
	}
	put("old")
	put("new")
	put("idle")
	w.do(&JobCreate{Meta: w.at(), Spec: spec("old")})
	removed(1, "old", "idle")
	w.do(&JobUpdate{Meta: w.at(), ID: "web", Spec: spec("new")})
	removed(0, "old", "new") // a rollback goes back to the old one
	w.do(&JobUpdate{Meta: w.at(), ID: "web", Spec: spec("")})
	removed(0, "old", "new")
	for i := range api.MaxHistory {
		s := spec("")
		s.Command = append(s.Command, string(rune('a'+i)))
		w.do(&JobUpdate{Meta: w.at(), ID: "web", Spec: s})
	}
	removed(1, "old", "new") // there is a task of the first version
	put("again")
	w.do(&JobUpdate{Meta: w.at(), ID: "web", Spec: spec("again")})
	removed(0, "again")
	w.do(&JobStop{Meta: w.at(), ID: "web"})
	for task := range w.View().Tasks() {
		w.report(task.ID, api.TaskKilled, "")
	}
	w.do(&JobRemove{Meta: w.at(), IDs: []string{"web"}})
	if w.View().Job("web") != nil {
		t.Fatal("the job is there")
	}
	removed(2, "again", "old")
}
