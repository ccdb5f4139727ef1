package fsm

import (
	"time"

	"github.com/mesita/mesita/api"
)

// programRow is how often versions of jobs, present and kept, need an upload, as their
// program or a file; one that none needs has no row.
type programRow struct {
	digest   string
	versions int
}

// indexPrograms keeps the counts in step with a job; either may be nil.
func (x *tx) indexPrograms(old, j *api.Job) {
	if old != nil && j != nil && samePrograms(old, j) {
		return
	}
	for digest := range programsOf(old) {
		x.countProgram(digest, -1)
	}
	for digest := range programsOf(j) {
		x.countProgram(digest, 1)
	}
}

// samePrograms reports whether both have the same specs, as nearly every change leaves
// them.
func samePrograms(a, b *api.Job) bool {
	if a.Spec != b.Spec || len(a.History) != len(b.History) {
		return false
	}
	for i := range a.History {
		if a.History[i].Spec != b.History[i].Spec {
			return false
		}
	}
	return true
}

func programsOf(j *api.Job) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if j == nil {
			return
		}
		for digest := range j.Spec.Uploads() {
			if !yield(digest) {
				return
			}
		}
		for i := range j.History {
			if j.History[i].Spec == nil {
				continue
			}
			for digest := range j.History[i].Spec.Uploads() {
				if !yield(digest) {
					return
				}
			}
		}
	}
}

func (x *tx) countProgram(digest string, n int) {
	row := &programRow{digest: digest, versions: n}
	if old := get(x.programs.BTreeG, row); old != nil {
		row.versions += old.versions
	}
	if row.versions == 0 {
		x.programs.Delete(row)
		return
	}
	x.programs.ReplaceOrInsert(row)
}

// Uses reports whether a version of a job needs an upload.
func (v *View) Uses(digest string) bool {
	return get(v.t.programs.BTreeG, &programRow{digest: digest}) != nil
}

// UnusedUploads are digests of uploads of before a time that no version of a job needs,
// at most so many. There are none as long as tasks may run a version that is not kept.
func (v *View) UnusedUploads(before time.Time, most int) []string {
	if !v.Does(RunningVersions) {
		return nil
	}
	var out []string
	for b := range v.t.blobs.all() {
		if len(out) == most {
			break
		}
		if b.Created.Before(before) && !v.Uses(b.Digest) {
			out = append(out, b.Digest)
		}
	}
	return out
}
