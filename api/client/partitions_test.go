package client

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/mesita/mesita/api"
)

func TestPartitions(t *testing.T) {
	var calls []string
	c := newClient(t, Config{Addrs: []string{serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, r.Method+" "+r.RequestURI)
		switch {
		case r.Method == http.MethodPut:
			p := new(api.Partition)
			if err := api.DecodeStrict(r.Body, p); err != nil {
				t.Error(err)
			}
			answer(w, 200, api.PartitionChange{Partition: p, Action: "create", Warnings: []string{"w"}})
		case r.Method == http.MethodDelete:
			answer(w, 200, api.PartitionChange{Partition: &api.Partition{Path: "ml/train", Drain: true}, Action: "remove"})
		case r.URL.Path == "/v1/partitions":
			answer(w, 200, json.RawMessage(`{"items":[{"path":"ml","weight":2,"policy":"fair","running":3,"lent":{"cpus":1.5},"fair":0.5}],"index":1}`))
		case r.URL.Path == "/v1/incidents":
			answer(w, 200, json.RawMessage(`{"items":[{"id":4,"kind":"task-oom","object":"a.0"}],"index":1}`))
		default:
			answer(w, 200, json.RawMessage(`{"path":"ml/train","pending":7}`))
		}
	})}})
	ctx := t.Context()
	all, err := c.Partitions(ctx)
	if err != nil || len(all) != 1 || all[0].Path != "ml" || all[0].Weight != 2000 || all[0].Running != 3 || all[0].Lent.CPUs != 1500 || all[0].Fair != 0.5 {
		t.Errorf("%+v %v", all, err)
	}
	if p, err := c.Partition(ctx, "ml/train"); err != nil || p.Path != "ml/train" || p.Pending != 7 {
		t.Errorf("%+v %v", p, err)
	}
	p := &api.Partition{Path: "ml/train", Weight: 2500, Guarantee: api.Amounts{CPUs: 4000}}
	for _, put := range []func() (*api.PartitionChange, error){
		func() (*api.PartitionChange, error) { return c.PutPartition(ctx, p, true) },
		func() (*api.PartitionChange, error) { return c.PutPartition(ctx, p, false) },
		func() (*api.PartitionChange, error) { return c.PlanPartition(ctx, p, true) },
	} {
		if ch, err := put(); err != nil || ch.Partition.Weight != 2500 || ch.Partition.Guarantee.CPUs != 4000 || len(ch.Warnings) != 1 {
			t.Errorf("%+v %v", ch, err)
		}
	}
	if ch, err := c.RemovePartition(ctx, "ml/train", true); err != nil || !ch.Partition.Drain {
		t.Errorf("%+v %v", ch, err)
	}
	if _, err := c.PlanRemovePartition(ctx, "ml/train", true); err != nil {
		t.Error(err)
	}
	if l, err := c.Incidents(ctx, true, "a.0", 5); err != nil || len(l) != 1 || l[0].Kind != api.IncidentTaskOOM {
		t.Errorf("%+v %v", l, err)
	}
	want := []string{"GET /v1/partitions", "GET /v1/partitions/ml/train", "PUT /v1/partitions/ml/train?create=1", "PUT /v1/partitions/ml/train", "PUT /v1/partitions/ml/train?create=1&dry_run=1",
		"DELETE /v1/partitions/ml/train?drain=1", "DELETE /v1/partitions/ml/train?drain=1&dry_run=1", "GET /v1/incidents?for=a.0&limit=5&open=1"}
	for i, w := range want {
		if i >= len(calls) || calls[i] != w {
			t.Fatalf("calls %q, want %q", calls, want)
		}
	}
	// What names no partition is not sent.
	for _, path := range []string{"", "a/", "../jobs", "A", "a?x=1"} {
		if _, err := c.Partition(ctx, path); api.ErrorCode(err) != api.CodeInvalid {
			t.Errorf("%q: %v", path, err)
		}
		if _, err := c.RemovePartition(ctx, path, false); api.ErrorCode(err) != api.CodeInvalid {
			t.Errorf("%q: %v", path, err)
		}
	}
	if len(calls) != len(want) {
		t.Errorf("%q", calls[len(want):])
	}
}
