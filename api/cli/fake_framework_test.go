package cli

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// frameworks are three: one is connected and runs a task, one is away, and one was removed.
func (f *fake) frameworks() []*api.FrameworkStatus {
	if f.bare {
		return nil
	}
	all := []*api.FrameworkStatus{
		{Framework: &api.Framework{ID: "3f1c0000-0001", Name: "marathon", User: "www", Principal: "ci", Actor: "token:ci", Host: "oak", Partitions: []string{"prod"}, Failover: api.Duration(7 * 24 * time.Hour), Connected: true, Since: f.now, Created: f.now},
			Jobs: []string{"560"}, Counts: api.JobCounts{Running: 1, Finished: 2}, Offers: 1, Offered: api.Resources{CPUs: 1500, Mem: 2 << 30}, Held: api.Resources{CPUs: 250, Mem: 64 << 20}},
		{Framework: &api.Framework{ID: "3f1d0000-0002", Name: "chronos", Partitions: []string{"ml", "prod"}, Failover: api.Duration(time.Hour), Since: f.now, Created: f.now}, Jobs: []string{}},
		{Framework: &api.Framework{ID: "90ab0000-0003", Name: "chronos", Partitions: []string{"ml"}, Since: f.now, Created: f.now, Ended: f.now, Reason: "asked for"}, Jobs: []string{}},
	}
	if f.looks["framework rm"] > 0 { // what it runs has ended at the second look
		all[0].Ended, all[0].Connected, all[0].Offers = f.now, false, 0
		if f.looks["framework rm"]++; f.looks["framework rm"] > 2 {
			all[0].Counts.Running = 0
		}
	}
	return all
}

func (f *fake) frameworkTask() *api.Task {
	spec := &api.JobSpec{Kind: api.KindFramework, TaskSpec: api.TaskSpec{Command: []string{"/bin/sh", "-c", "sleep 100"}, User: "www", Env: map[string]string{"KEY": api.Masked}}}
	spec.Normalize()
	return &api.Task{ID: "560.2", Job: "560", Index: 2, Partition: "prod", State: api.TaskRunning, Node: "oak", NodeID: "oak", Attempt: 1, PID: 77, Resources: api.Resources{CPUs: 250, Mem: 64 << 20}, Created: f.now, Started: f.now,
		Framework: &api.FrameworkTask{Framework: "3f1c0000-0001", ID: "app.1", Name: "the app", Spec: spec}}
}

func (f *fake) frameworkRoutes(handle func(string, func(*http.Request) (any, error))) {
	handle("POST /v1/tasks/560.2/stop", func(*http.Request) (any, error) { return f.frameworkTask(), nil })
	handle("GET /v1/jobs/560", func(*http.Request) (any, error) {
		return &api.Job{ID: "560", Version: 1, Framework: "3f1c0000-0001", Created: f.now, Counts: api.JobCounts{Running: 1}, Spec: &api.JobSpec{Name: "marathon", Kind: api.KindFramework, Partition: "prod"}}, nil
	})
	handle("GET /v1/frameworks", func(r *http.Request) (any, error) {
		return items(slices.DeleteFunc(f.frameworks(), func(x *api.FrameworkStatus) bool { return !r.URL.Query().Has("all") && !x.Ended.IsZero() })), nil
	})
	handle("GET /v1/frameworks/{id}", func(r *http.Request) (any, error) {
		for _, x := range f.frameworks() {
			if strings.HasPrefix(r.PathValue("id"), x.ID) { // long ones have more
				return x, nil
			}
		}
		return nil, api.NotFound("framework", r.PathValue("id"))
	})
	handle("DELETE /v1/frameworks/{id}", func(*http.Request) (any, error) {
		f.looks["framework rm"] = 1
		return map[string]int{"removed": 1}, nil
	})
	handle("GET /v1/offers", func(r *http.Request) (any, error) {
		all := []*api.OfferStatus{
			{Offer: &api.Offer{ID: "ab120000-0001", Framework: "3f1c0000-0001", Partition: "prod", NodeID: "oak", Resources: api.Resources{CPUs: 1500, Mem: 2 << 30}, Created: f.now}, Node: "oak", Name: "marathon"},
			{Offer: &api.Offer{ID: "ab130000-0002", Framework: "3f1d0000-0002", Partition: "ml", NodeID: "fir", Resources: api.Resources{CPUs: 500, Mem: 1 << 30}, Created: f.now}, Node: "fir", Name: "chronos"},
		}
		of := r.URL.Query().Get("framework")
		return items(slices.DeleteFunc(all, func(o *api.OfferStatus) bool { return of != "" && o.Framework != of })), nil
	})
	handle("DELETE /v1/offers/{id}", func(*http.Request) (any, error) { return map[string]int{"removed": 1}, nil })
}

// ofFramework are its tasks; own narrows them to one.
func (f *fake) ofFramework(id, own string) []*api.Task {
	if own == "twice" {
		return []*api.Task{f.frameworkTask(), f.frameworkTask()}
	}
	if t := f.frameworkTask(); id == t.Framework.Framework && (own == "" || own == t.Framework.ID) {
		return []*api.Task{t}
	}
	return nil
}
