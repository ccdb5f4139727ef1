package cli

import (
	"net/http"

	"github.com/mesita/mesita/api"
)

// waitingRoutes are what is done to jobs that wait. With dry_run they answer the job
// as it would be, or the plan.
func (f *fake) waitingRoutes(handle func(string, func(*http.Request) (any, error))) {
	for verb, do := range map[string]func(j *api.Job){
		"hold":    func(j *api.Job) { j.Hold = true },
		"release": func(j *api.Job) { j.Hold = false },
		"requeue": func(j *api.Job) { j.Counts.Pending, j.Counts.Running = j.Counts.Pending+j.Counts.Running, 0 },
	} {
		handle("POST /v1/jobs/{id}/"+verb, func(r *http.Request) (any, error) {
			old := f.jobs[r.PathValue("id")]
			if old == nil {
				return nil, noJob(r.PathValue("id"))
			}
			j := *old
			if do(&j); !r.URL.Query().Has("dry_run") {
				f.jobs[j.ID] = &j
			}
			return &j, nil
		})
	}
	handle("POST /v1/jobs/{id}/set", func(r *http.Request) (any, error) {
		var in api.JobChange
		if err := api.DecodeStrict(r.Body, &in); err != nil {
			return nil, err
		}
		old := f.jobs[r.PathValue("id")]
		if old == nil {
			return nil, noJob(r.PathValue("id"))
		}
		if in.Partition != nil && f.parts[*in.Partition] == nil {
			return nil, api.FieldErrorf("partition", "there is no partition %q", *in.Partition)
		}
		j := *old
		if j.Spec, j.Filled = in.Of(old); j.Spec.Validate() != nil {
			return nil, j.Spec.Validate()
		}
		if j.Version++; r.URL.Query().Has("dry_run") {
			return api.Plan{Job: j.ID, Action: "update", Changes: api.Differences(old.Spec, j.Spec), Tasks: 1, Fits: 1, Starts: 1}, nil
		}
		f.jobs[j.ID] = &j
		return &j, nil
	})
}
