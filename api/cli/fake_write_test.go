package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
)

func (f *fake) writeRoutes(handle func(string, func(*http.Request) (any, error))) {
	put := func(r *http.Request) (any, error) {
		s := new(api.JobSpec)
		if err := api.DecodeStrict(r.Body, s); err != nil {
			return nil, err
		}
		s.Normalize()
		if err := s.Validate(); err != nil {
			return nil, err
		}
		if s.CPUs > 64000 {
			return nil, &api.Error{Code: api.CodeDoesNotFit, Field: "cpus", Message: "no node has 100 cpus, the most is 64 (oak): ask for less"}
		}
		if r.URL.Query().Has("dry_run") {
			return api.Plan{Job: s.Name, Action: "create", Tasks: s.Tasks(), Fits: 1, Starts: 1, Waiting: s.Tasks() - 1, Nodes: []api.PlanNode{{Node: "oak", Tasks: 1}}, Warnings: []string{"2 tasks would wait"}, Lacks: f.lacks(s)}, nil
		}
		id := s.Name
		if id == "" {
			f.next++
			id = strconv.Itoa(58 + f.next)
		}
		j := &api.Job{ID: id, Version: 1, Spec: s, State: api.JobPending, Counts: api.JobCounts{Pending: s.Tasks()}, Created: time.Now()}
		if old := f.jobs[id]; old != nil {
			if r.Method == http.MethodPost {
				return nil, api.Errorf(api.CodeConflict, "job %q exists: `mesita apply` changes it", id)
			}
			j.Version = old.Version + 1
		}
		f.jobs[id], f.looks[id] = j, 0
		return j, nil
	}
	handle("POST /v1/jobs", put)
	handle("POST /v1/statecheck", func(*http.Request) (any, error) {
		s := &api.StateCheck{Index: 9, Of: 8}
		for _, n := range f.nodes() {
			s.Answers = append(s.Answers, api.StateAnswer{NodeID: n.ID, Version: "1.0.0", State: "5f3a", Log: "77"})
		}
		s.Answers[1].State, s.Odd = "0bad", []string{s.Answers[1].NodeID}
		return s, nil
	})
	handle("POST /v1/level", func(r *http.Request) (any, error) {
		var in api.LevelRequest
		if err := api.DecodeStrict(r.Body, &in); err != nil {
			return nil, err
		}
		s := f.level()
		if in.Raise {
			return nil, api.Errorf(api.CodeConflict, "upgrade mesita on elm first")
		}
		if *in.Hold {
			s.Held = []string{"oak"}
		}
		return s, nil
	})
	handle("PUT /v1/jobs/{id}", put)
	onJob := func(do func(j *api.Job, r *http.Request)) func(*http.Request) (any, error) {
		return func(r *http.Request) (any, error) {
			j := f.jobs[r.PathValue("id")]
			if j == nil {
				return nil, noJob(r.PathValue("id"))
			}
			do(j, r)
			f.looks[j.ID] = 0
			return j, nil
		}
	}
	handle("POST /v1/jobs/{id}/stop", onJob(func(j *api.Job, _ *http.Request) { j.Stop, j.State = true, api.JobStopping }))
	handle("POST /v1/jobs/{id}/scale", onJob(func(j *api.Job, r *http.Request) {
		var in struct{ Count int }
		_ = json.NewDecoder(r.Body).Decode(&in) // a wrong one shows in the count
		j.Spec.Count, j.State = new(in.Count), api.JobPending
	}))
	f.waitingRoutes(handle)
	handle("POST /v1/tasks/{id}/stop", func(r *http.Request) (any, error) {
		if f.jobs["web"].Hold {
			return nil, api.RestartOnHold("web", r.PathValue("id"))
		}
		var in struct{ Attempt int }
		_ = json.NewDecoder(r.Body).Decode(&in) // a wrong one names no attempt
		switch {
		case in.Attempt != 0 && f.older:
			return nil, api.FieldErrorf("attempt", "unknown field")
		case in.Attempt != 0:
			f.looks[fmt.Sprint("attempt ", in.Attempt, " of ", r.PathValue("id"))]++
		}
		f.looks["move "+r.PathValue("id")]++
		return f.task(r.PathValue("id"))
	})
	handle("DELETE /v1/jobs/{id}", onJob(func(j *api.Job, _ *http.Request) { delete(f.jobs, j.ID) }))
	handle("GET /v1/ca", func(*http.Request) (any, error) {
		return api.CARoots{Cert: [][]byte{[]byte("the one that signs\n"), []byte("the next\n")}}, nil
	})
	handle("POST /v1/ca", func(*http.Request) (any, error) {
		f.looks["rotate-ca"]++
		return api.CAStatus{Step: 1, Phase: "all are told"}, nil
	})
	handle("POST /v1/nodes/{ref}/drain", func(r *http.Request) (any, error) {
		if r.URL.Query().Get("dry_run") != "" {
			if f.old {
				return nil, api.FieldErrorf("dry_run", "is unknown")
			}
			return f.planDrain(r.PathValue("ref")), nil
		}
		f.looks["drain "+r.PathValue("ref")]++
		return struct{}{}, nil
	})
	handle("GET /v1/rebalance", f.rebalance)
	handle("POST /v1/nodes/{ref}/resume", func(*http.Request) (any, error) { return struct{}{}, nil })
	handle("DELETE /v1/nodes/{ref}", func(r *http.Request) (any, error) {
		if r.URL.Query().Get("force") != "" {
			return struct{}{}, nil
		}
		return nil, api.Errorf(api.CodeConflict, "node fir runs 2 tasks: drain it first, or use --force")
	})
	handle("POST /v1/tokens", func(r *http.Request) (any, error) {
		var in api.TokenRequest
		if err := api.DecodeStrict(r.Body, &in); err != nil {
			return nil, err
		}
		g := api.TokenGrant{Token: &api.Token{ID: "t1", Kind: in.Kind, Role: in.Role, Expires: time.Now().Add(time.Duration(in.TTL))}, Secret: "msc1-t1.secret"}
		if in.Kind == api.TokenJoin {
			g.Secret = "mst1-pine-t1.secret.0123456789abcdef"
		}
		return g, nil
	})
	handle("DELETE /v1/tokens/{id}", func(*http.Request) (any, error) { return struct{}{}, nil })
}

// level is that of a cluster in which two of three nodes were upgraded.
func (f *fake) level() *api.LevelStatus {
	return &api.LevelStatus{Level: 0, Behind: []string{"elm"}, Nodes: []api.NodeLevel{
		{Name: "elm", Version: "1.0.0", Voter: true, Answers: true}, {Name: "fir", Version: "1.1.0", Level: 1}, {Name: "oak", Version: "1.1.0", Level: 1, Voter: true, Answers: true}}}
}

// nextCA is a change of the CA's key, one step on at each look.
func (f *fake) nextCA() api.CAStatus {
	f.looks["ca"]++
	switch f.looks["ca"] {
	case 1:
		return api.CAStatus{Step: 1, Phase: "all are told", Waiting: []string{"fir"}, Away: []string{"elm"}}
	case 2:
		return api.CAStatus{Step: 2, Phase: "all get certificates"}
	}
	return api.CAStatus{Step: 3, Pin: "abcdefghijk"}
}
