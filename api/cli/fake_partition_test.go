package cli

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// addPartitions makes those of the product's example.
func (f *fake) addPartitions() {
	f.parts = map[string]*api.PartitionStatus{}
	add := func(p api.Partition, used api.Resources, s api.PartitionStatus) {
		p.Normalize()
		p.Created = f.now
		s.Partition, s.Allocated, s.Capacity = &p, used, api.Resources{CPUs: 12000, Mem: 24 << 30}
		f.parts[p.Path] = &s
	}
	add(api.Partition{Path: "default"}, api.Resources{}, api.PartitionStatus{})
	add(api.Partition{Path: "prod", Guarantee: api.Amounts{CPUs: 4000, Mem: 8 << 30}}, api.Resources{CPUs: 3200, Mem: 4200 << 20},
		api.PartitionStatus{PartitionUsage: api.PartitionUsage{Running: 8}, Lent: api.Amounts{CPUs: 800}, Share: 0.267, Fair: 0.33})
	add(api.Partition{Path: "ml", Weight: 2000, Policy: api.PolicyFair, Guarantee: api.Amounts{CPUs: 4000, Mem: 8 << 30}, Limit: api.Amounts{CPUs: 10000}}, api.Resources{CPUs: 6000, Mem: 12 << 30},
		api.PartitionStatus{PartitionUsage: api.PartitionUsage{Running: 7, Frozen: 1, Pending: 94}, Borrowed: api.Amounts{CPUs: 2000}, Leaving: 2, Share: 0.5, Fair: 0.49, Oldest: time.Now().Add(-125 * time.Second),
			Sharing: &api.Sharing{Since: time.Now().Add(-3*time.Hour - time.Minute), Idle: 0.12, IdleMean: 0.031, Waited: api.Duration(90 * time.Second), Error: -0.0213, Promised: 14, Late: 1, LatestLate: api.Duration(3 * time.Second)}})
}

func (f *fake) partitionRoutes(handle func(string, func(*http.Request) (any, error))) {
	find := func(path string) (*api.PartitionStatus, error) {
		if p := f.parts[path]; p != nil {
			return p, nil
		}
		return nil, api.Errorf(api.CodeNotFound, "no partition %q: `mesita partition ls` lists them", path)
	}
	handle("GET /v1/partitions", func(*http.Request) (any, error) {
		var out []*api.PartitionStatus
		for _, path := range slices.Sorted(maps.Keys(f.parts)) {
			out = append(out, f.parts[path])
		}
		return items(out), nil
	})
	handle("GET /v1/partitions/{path...}", func(r *http.Request) (any, error) {
		p, err := find(r.PathValue("path"))
		if err == nil && p.Drain { // the work ends at the second look
			if f.looks["drain "+p.Path]++; f.looks["drain "+p.Path] > 1 {
				delete(f.parts, p.Path)
			}
		}
		return p, err
	})
	handle("PUT /v1/partitions/{path...}", f.putPartition)
	handle("DELETE /v1/partitions/{path...}", func(r *http.Request) (any, error) {
		p, err := find(r.PathValue("path"))
		if err != nil {
			return nil, err
		}
		change := api.PartitionChange{Partition: p.Partition, Action: "remove"}
		switch {
		case p.Running > 0 && !r.URL.Query().Has("drain"):
			return nil, api.Errorf(api.CodeConflict, "partition %q holds 1 jobs (57): stop them, or use --drain to let them end", p.Path)
		case r.URL.Query().Has("dry_run"):
		case p.Running == 0:
			delete(f.parts, p.Path)
		default:
			p.Drain = true
		}
		return change, nil
	})
	handle("GET /v1/audit", func(r *http.Request) (any, error) {
		all := []api.AuditRecord{
			{Number: 1, Time: f.now, Node: "oak", Actor: "token:ci", From: "10.0.0.9", Via: "fir", Action: "deploy", Object: "web", Outcome: api.AuditDone, Prev: "aa",
				Changed: []api.AuditChange{{Field: "spec.count", Before: "2", After: "5"}, {Field: "spec.env.K", After: api.Masked}}},
			{Number: 2, Time: f.now, Node: "oak", Action: "deploy", From: "10.0.0.7", Object: "web", Outcome: api.AuditRefused, Code: api.CodeNotAllowed, Reason: "credentials are needed", More: 7},
			{Number: 1, Time: f.now, Node: "fir", Actor: "root", From: "uid 0", Action: "exec", Object: "web.0", Outcome: api.AuditDone, Asked: "sh"},
		}
		if r.FormValue("refused") != "" && r.FormValue("user") == "ci" {
			all = all[1:2]
		}
		return map[string]any{"items": all, "missing": []map[string]string{{"node": "elm", "reason": "is down"}}}, nil
	})
	handle("GET /v1/audit/check", func(r *http.Request) (any, error) {
		checks := []api.AuditCheck{
			{Node: "oak", Files: 2, Records: 9, First: 4, Head: api.AuditHead{Number: 12}},
			{Node: "fir", Files: 1, Records: 3, First: 1, Head: api.AuditHead{Number: 3}, Faults: []api.AuditFault{{File: "0000000001.audit", Line: 2, Number: 2, What: "it is not what was written"}}, Notes: []string{"a note"}},
		}
		if node := r.FormValue("node"); node != "" {
			checks = slices.DeleteFunc(checks, func(k api.AuditCheck) bool { return k.Node != node })
			if len(checks) == 0 {
				return nil, api.InField("node", api.Errorf(api.CodeNotFound, "no node %q", node))
			}
		}
		return map[string]any{"items": checks}, nil
	})
	handle("GET /v1/doctor", func(r *http.Request) (any, error) {
		checks := []api.Check{
			{Node: "oak", What: "disk", State: api.CheckOK, Found: "a small write is kept after 1.5 ms (/var/lib/mesita)"},
			{Node: "oak", What: "space", State: api.CheckWarn, Found: "9GiB of 100GiB are free", Fix: "make room, or keep fewer logs"},
		}
		if r.FormValue("node") != "" {
			return map[string]any{"items": checks[:1]}, nil
		}
		return map[string]any{"items": checks, "missing": []map[string]string{{"node": "elm", "reason": "is down"}}}, nil
	})
	handle("GET /v1/report", func(r *http.Request) (any, error) {
		if r.FormValue("by") == api.ReportJob && r.FormValue("since") == "30d" {
			return items([]*api.ReportRow{{By: api.ReportJob, Name: "nightly", Partition: "prod", CoreHours: 3}}), nil
		}
		return items([]*api.ReportRow{
			{By: api.ReportUser, Name: "alice", From: "2026-11-22", To: "2026-11-29", CoreHours: 12.5, GiBHours: 25, Running: 1, Attempts: 7, Failed: 2, Starts: 8, WaitedHours: 0.5, LostToFailures: 1, LostToPreemption: 0.25, CPUUsed: new(0.4)},
			{By: api.ReportUser, From: "2026-11-22", To: "2026-11-29"},
		}), nil
	})
	handle("POST /v1/incidents/close", func(*http.Request) (any, error) { return map[string]int{"closed": 1}, nil })
	handle("GET /v1/incidents", func(r *http.Request) (any, error) {
		all := []*api.Incident{
			{ID: 3, Kind: api.IncidentNodeLost, Object: "e1e2", Node: "elm", Action: "its tasks start elsewhere", Seen: f.now, Message: "no answer"},
			{ID: 2, Kind: api.IncidentTaskOOM, Object: "57.1", Job: "57", Node: "fir", Action: "gave up after attempt 2", Count: 2, Seen: f.now, Over: f.now},
		}
		q := r.URL.Query()
		return items(slices.DeleteFunc(all, func(i *api.Incident) bool {
			return q.Has("open") && !i.Over.IsZero() || q.Has("for") && q.Get("for") != i.Object && q.Get("for") != i.Job && q.Get("for") != i.Node
		})), nil
	})
}

// putPartition has 12 cores to guarantee.
func (f *fake) putPartition(r *http.Request) (any, error) {
	p := new(api.Partition)
	if err := api.DecodeStrict(r.Body, p); err != nil {
		return nil, err
	}
	p.Normalize()
	if err := p.Validate(); err != nil {
		return nil, err
	}
	old, change := f.parts[p.Path], api.PartitionChange{Partition: p, Action: "create"}
	sum := p.Guarantee.CPUs
	for _, q := range f.parts {
		if q.Parent() == p.Parent() && q.Path != p.Path {
			sum += q.Guarantee.CPUs
		}
	}
	switch up := f.parts[p.Parent()]; {
	case old != nil && r.URL.Query().Has("create"):
		return nil, api.Errorf(api.CodeConflict, "partition %q exists: `mesita partition set` changes it", p.Path)
	case p.Parent() != "" && up == nil:
		return nil, &api.Error{Code: api.CodeNotFound, Field: "path", Message: "there is no partition \"" + p.Parent() + "\" to put \"" + p.Path + "\" into: create it first"}
	case sum > 12000 || up != nil && sum > up.Guarantee.CPUs:
		return nil, &api.Error{Code: api.CodeDoesNotFit, Field: "guarantee", Message: "cpus=" + p.Guarantee.CPUs.String() + " does not fit"}
	case old != nil:
		change.Action = "update"
	}
	if len(p.Nodes) > 0 && strings.HasPrefix(p.Nodes[0].Attr, "no") {
		change.Warnings = append(change.Warnings, "no node meets "+p.Nodes[0].String()+": nothing starts there until one does")
	}
	if old != nil && p.Limit.CPUs != 0 && p.Limit.CPUs < old.Allocated.CPUs {
		change.Reclaimed = append(change.Reclaimed, "57.1 (1 cpus) on fir", "57.2 (1 cpus) on oak")
	}
	if !r.URL.Query().Has("dry_run") {
		s := api.PartitionStatus{Partition: p}
		if old != nil {
			s = *old
			s.Partition = p
		}
		f.parts[p.Path] = &s
	}
	return change, nil
}
