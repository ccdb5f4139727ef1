package fsm

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// A file is used as a program is, and all of one task are bounded together.
func TestAFileIsUsedWhileAVersionIsKept(t *testing.T) {
	w := newWorld(t, Newest, 2)
	a, b := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	put := func(d string, size api.Bytes) {
		w.do(&BlobPut{Meta: w.at(), NodeID: nodeID(0), Blob: &api.Blob{Digest: d, Size: int64(size)}})
	}
	spec := func(files map[string]string) *api.JobSpec {
		s := testSpec(api.KindService, "web", 1)
		s.Files = files
		return s
	}
	refused := func(files map[string]string, says string) {
		t.Helper()
		if _, err := w.Do(t.Context(), &JobCreate{Meta: w.at(), Spec: spec(files)}); err == nil || !strings.Contains(err.Error(), says) {
			t.Error(err)
		}
	}
	removed := func(want int, digests ...string) {
		t.Helper()
		if v, err := w.Do(t.Context(), &BlobRemove{Meta: w.at(), Digests: digests}); err != nil || v != want {
			t.Errorf("of %v %v were removed, %v", digests, v, err)
		}
		checkSums(t, w.View())
	}
	put(a, api.MaxFilesSize/2)
	refused(map[string]string{"x": a, "y": b}, "files.y: "+b+" was not uploaded")
	refused(map[string]string{"x": "./local"}, "files.x: ")
	put(b, api.MaxFilesSize/2+1)
	refused(map[string]string{"x": a, "y": b}, "files: have 64MiB together")
	w.do(&JobCreate{Meta: w.at(), Spec: spec(map[string]string{"x": api.FileValue(a, true), "y": a})})
	removed(1, a, b)
	put(b, 1)
	w.do(&JobUpdate{Meta: w.at(), ID: "web", Spec: spec(map[string]string{"x": b})})
	removed(0, a, b) // a rollback goes back to the first
	for level := range Newest + 1 {
		for _, c := range []Command{&JobCreate{Spec: spec(map[string]string{"x": a})}, &JobUpdate{Spec: spec(map[string]string{"x": a})}, &JobSet{Spec: spec(map[string]string{"x": a})}} {
			if err := storeAt(t, level).View().Allows(c); (err == nil) != (level >= Files.Level()) {
				t.Errorf("%T at level %d: %v", c, level, err)
			}
		}
	}
}

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
	if NewStore(nil).View().Uses("again") {
		t.Error("a node that knows of no job says that one needs a program")
	}
}
