package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/mesita/mesita/api"
)

// applyRoute is how a cluster applies several together: what each alone would come to,
// on a copy that is kept if none is refused. With f.old it knows no such thing, and
// the first f.raced times it is too late.
func (f *fake) applyRoute(handle func(string, func(*http.Request) (any, error))) {
	handle("POST /v1/apply", func(r *http.Request) (any, error) {
		var in api.ApplyRequest
		switch err := api.DecodeStrict(r.Body, &in); {
		case err != nil:
			return nil, err
		case f.old:
			return nil, &api.Error{Code: api.CodeConflict, Field: api.FieldLevel, Message: "the level is too low"}
		case f.raced > 0:
			f.raced--
			return nil, &api.Error{Code: api.CodeConflict, Field: "jobs[0]." + api.FieldRevision, Message: "it was changed meanwhile"}
		}
		jobs, parts, looks := f.jobs, f.parts, f.looks
		f.copied()
		answer, err := f.applyTogether(&in, r.URL.Query())
		if dry := r.URL.Query().Has("dry_run"); err != nil || dry {
			f.jobs, f.parts, f.looks = jobs, parts, looks
		}
		return answer, err
	})
}

func (f *fake) copied() {
	jobs, parts, looks := map[string]*api.Job{}, map[string]*api.PartitionStatus{}, map[string]int{}
	for k, v := range f.jobs {
		jobs[k] = v
	}
	for k, v := range f.parts {
		parts[k] = v
	}
	for k, v := range f.looks {
		looks[k] = v
	}
	f.jobs, f.parts, f.looks = jobs, parts, looks
}

func (f *fake) applyTogether(in *api.ApplyRequest, q url.Values) (any, error) {
	answer, was := api.ApplyAnswer{Items: []api.Applied{}}, f.parts
	f.copied()
	for left := in.Partitions; len(left) > 0; { // in an order in which they fit
		var next []*api.Partition
		for _, p := range left {
			if _, err := f.putPartition(asked("/v1/partitions/"+p.Path, p)); err != nil {
				next = append(next, p)
			}
		}
		if len(next) == len(left) {
			_, err := f.putPartition(asked("/v1/partitions/"+next[0].Path, next[0]))
			return nil, api.InField("partitions[0]", err)
		}
		left = next
	}
	for _, p := range in.Partitions {
		did := api.Applied{Kind: "partition", Name: p.Path, Action: api.ApplyCreate}
		if old := was[p.Path]; old != nil {
			did.Action, did.Changes = api.ApplyUpdate, api.Differences(old.Asked(), f.parts[p.Path].Asked())
			if len(did.Changes) == 0 {
				did.Action = api.ApplyNothing
			}
		}
		answer.Items = append(answer.Items, did)
	}
	for i, s := range in.Jobs {
		did := api.Applied{Kind: s.Kind.String(), Name: s.Name, Action: api.ApplyCreate, Version: 1}
		full := *s
		full.Normalize()
		if old := f.jobs[s.Name]; old != nil {
			did.Action, did.Changes, did.Version = api.ApplyUpdate, api.Differences(old.Spec, &full), old.Version
			switch {
			case len(did.Changes) == 0:
				did.Action = api.ApplyNothing
			case old.State.Ended():
				if did.Action = api.ApplyAgain; !in.Again && !q.Has("dry_run") {
					return nil, &api.Error{Code: api.CodeConflict, Field: "jobs[0]." + api.FieldAgain, Message: "it has ended, and would run again: --again"}
				}
			}
		}
		switch {
		case s.CPUs > 64000:
			return nil, &api.Error{Code: api.CodeDoesNotFit, Field: "jobs[" + string(rune('0'+i)) + "].cpus", Message: "no node has so many"}
		case did.Action != api.ApplyNothing:
			did.Version = 1
			if old := f.jobs[s.Name]; old != nil {
				did.Version = old.Version + 1
			}
			f.jobs[s.Name] = &api.Job{ID: s.Name, Version: did.Version, Spec: &full, State: api.JobPending, Counts: api.JobCounts{Pending: full.Tasks()}, Created: f.now}
			f.looks[s.Name] = 0
		}
		if q.Has("dry_run") && did.Action != api.ApplyNothing {
			did.Plan = &api.Plan{Job: s.Name, Action: did.Action, Tasks: full.Tasks(), Fits: 1, Starts: 1, Changes: did.Changes, Nodes: []api.PlanNode{{Node: "oak", Tasks: 1}}, Lacks: f.lacks(&full)}
		}
		answer.Items = append(answer.Items, did)
	}
	for i, stop := range in.Stop {
		id := stop.Job
		if f.jobs[id].Revision != stop.Revision {
			return nil, &api.Error{Code: api.CodeConflict, Field: "stop[" + string(rune('0'+i)) + "]." + api.FieldRevision, Message: "it was changed since it was looked at"}
		}
		j := *f.jobs[id]
		j.Stop, j.State = true, api.JobStopping
		f.jobs[id] = &j
		answer.Items = append(answer.Items, api.Applied{Kind: j.Spec.Kind.String(), Name: id, Action: api.ApplyStop, Version: j.Version})
	}
	return answer, nil
}

// asked is a request of one object.
func asked(path string, v any) *http.Request {
	b, _ := json.Marshal(v) // a noun always can be
	r := httptest.NewRequest(http.MethodPut, path, bytes.NewReader(b))
	r.SetPathValue("path", strings.TrimPrefix(path, "/v1/partitions/"))
	return r
}
