package server

import (
	"fmt"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// A node is told of each limit that bounds what it runs, of its partition and of
// those above, once it moved by a tenth of what was told, and not of others.
func TestBoundsAreToldOnceTheyMove(t *testing.T) {
	s := newStore(t)
	addNode(t, s, "elm")
	meta := fsm.Meta{At: testTime}
	put := func(path string, limit api.MilliCPU, hard bool) {
		t.Helper()
		p := &api.Partition{Path: path, Limit: api.Amounts{CPUs: limit}, LimitHard: hard}
		do(t, s, &fsm.PartitionPut{Meta: meta, Partition: p})
	}
	put("ml", 2000, true)
	put("ml/train", 1000, true)
	put("ml-x", 1000, true) // sorts between the two, and is not part of the first
	put("soft", 1000, false)
	place := func(job, partition, node string, index int, cpus api.MilliCPU) {
		t.Helper()
		if s.View().Job(job) == nil {
			spec := batchSpec(job)
			spec.Partition, spec.CPUs, spec.Array = partition, cpus, "0-99"
			spec.Normalize()
			do(t, s, &fsm.JobCreate{Meta: meta, Spec: spec})
		}
		do(t, s, &fsm.TaskPlace{Meta: meta, Placements: []fsm.Placement{{Job: job, Index: index, Attempt: 1, NodeID: node}}})
	}
	var b Bounds
	told := func(when, want string) {
		t.Helper()
		v, got := s.View(), "as before"
		if news := b.Of(v, v.Assignments("oak")); news != nil {
			got = fmt.Sprint(*news)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
		if again := b.Again(v); again != nil {
			t.Errorf("%s: told twice: %v", when, *again)
		}
	}
	told("nothing runs", "[]")
	place("soft", "soft", "oak", 0, 500)
	place("other", "ml", "elm", 0, 500)
	place("else", "ml-x", "elm", 0, 500)
	told("nothing that is bounded runs here", "as before")
	place("here", "ml/train", "oak", 0, 200)
	told("something does", "[{ml 2 0.7} {ml/train 1 0.2}]")
	place("more", "ml", "elm", 0, 69)
	told("a little more runs elsewhere", "as before")
	place("more", "ml", "elm", 1, 69)
	told("a tenth more does", "[{ml 2 0.838} {ml/train 1 0.2}]")
	put("ml/train", 600, true)
	told("a limit was lowered", "[{ml 2 0.838} {ml/train 0.6 0.2}]")
	put("ml/train", 600, false)
	told("one is soft", "[{ml 2 0.838}]")
	put("ml", 2000, false)
	told("none is hard", "[]")
}
