package cli

import (
	"fmt"
	"maps"
	"slices"

	"github.com/mesita/mesita/api"
)

// promised are the digests of what a command that only looks would upload.
type promised map[string]bool

// add notes what a spec names by digest once its files were looked at, and did not name before.
func (p promised) add(s *api.JobSpec, named []string) {
	for digest := range s.Uploads() {
		if !slices.Contains(named, digest) {
			p[digest] = true
		}
	}
}

// named are the digests that a spec names by itself.
func named(s *api.JobSpec) (out []string) {
	if api.ValidDigest(s.Program) {
		out = append(out, s.Program)
	}
	for _, value := range s.Files {
		if digest, _, ok := api.ParseFile(value); ok {
			out = append(out, digest)
		}
	}
	return out
}

// keeps refuses a plan of a job that needs what the cluster does not have, and what would
// not be uploaded either.
func (p promised) keeps(s *api.JobSpec, plan *api.Plan) error {
	if plan == nil {
		return nil
	}
	for _, digest := range plan.Lacks {
		if p[digest] {
			continue
		}
		field := "program"
		for _, name := range slices.Sorted(maps.Keys(s.Files)) {
			if d, _, _ := api.ParseFile(s.Files[name]); d == digest && s.Program != digest {
				field = "files." + name
			}
		}
		return api.FieldErrorf(field, "%s is not in the cluster, or no longer: name the file in its place, which is uploaded then", digest)
	}
	return nil
}

// keepAll is keeps, of all that was planned together.
func (p promised) keepAll(specs []*api.JobSpec, answer *api.ApplyAnswer) error {
	for i := range answer.Items {
		did := &answer.Items[i]
		at := slices.IndexFunc(specs, func(s *api.JobSpec) bool { return did.Plan != nil && s.Name == did.Plan.Job })
		if at < 0 {
			continue
		}
		if err := p.keeps(specs[at], did.Plan); err != nil {
			return api.InField(fmt.Sprintf("jobs[%d]", at), err)
		}
	}
	return nil
}
