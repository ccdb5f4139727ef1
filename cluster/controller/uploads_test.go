package controller

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/fsm"
)

// Uploads that no job needs are forgotten once they are old, some at a time; nothing is
// proposed when there are none, nor by a time that is not to be trusted.
func TestForgetsUploadsThatNoJobNeeds(t *testing.T) {
	w := newWorld(t)
	trusted := true
	c := New(Config{Store: w.Store, Now: func() time.Time { return w.now }, Forgets: func() bool { return trusted }})
	digest := func(i int) string { return fmt.Sprintf("sha256:%064x", i) }
	upload := func(i int) {
		w.do(&fsm.BlobPut{Meta: w.meta(), NodeID: "id0", Blob: &api.Blob{Digest: digest(i), Created: w.now}})
	}
	var all []fsm.Command
	for i := range maxUnused + 5 { // three of which a job needs
		all = append(all, &fsm.BlobPut{Meta: w.meta(), NodeID: "id0", Blob: &api.Blob{Digest: digest(i), Created: w.now}})
	}
	w.do(all...)
	job := w.submit(&api.JobSpec{Kind: api.KindService, TaskSpec: api.TaskSpec{Program: digest(1), Files: map[string]string{"a": digest(2)}}})
	w.do(&fsm.JobUpdate{Meta: w.meta(), ID: job, Spec: &api.JobSpec{Name: job, Kind: api.KindService, TaskSpec: api.TaskSpec{Program: digest(3), Command: []string{"x"}}}})
	pass := func(after, next time.Duration, left int) {
		t.Helper()
		w.now = w.now.Add(after)
		index := w.View().Index()
		was := len(slices.Collect(w.View().Blobs()))
		if at := c.pass(t.Context(), loop.Changes{}); at.Sub(w.now) != next {
			t.Errorf("it looks again in %s, want %s", at.Sub(w.now), next)
		}
		if n := len(slices.Collect(w.View().Blobs())); n != left {
			t.Errorf("%d uploads are left, want %d", n, left)
		} else if n == was && w.View().Index() != index {
			t.Error("something was proposed, though there was nothing to forget")
		}
	}
	pass(KeepUploads, time.Hour, maxUnused+5) // none is older
	pass(time.Hour, time.Hour, maxUnused+5)   // that no job needs them is known since now
	upload(maxUnused + 5)
	trusted = false
	pass(KeepUploads, unsure, maxUnused+6)
	trusted = true
	pass(unsure, nextUnused, 6)
	pass(nextUnused, time.Hour, 4)
	upload(0)
	pass(time.Hour, time.Hour, 5)
	for i, kept := range []bool{true, true, true, true, false} {
		if (w.View().Blob(digest(i)) != nil) != kept {
			t.Errorf("upload %d: kept %v", i, !kept)
		}
	}
}
