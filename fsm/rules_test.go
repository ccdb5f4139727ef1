package fsm

import (
	"testing"

	"github.com/mesita/mesita/api"
)

// No command leaves more tasks waiting than a partition, or one above it, lets wait,
// nor a task with more than it lets one have; what is there already continues.
func TestRulesOfPartitionsBindEachCommand(t *testing.T) {
	w := newWorld(t, Newest, 1)
	put := func(path string, r api.TaskRules) {
		p := &api.Partition{Path: path, TaskRules: r}
		p.Normalize()
		w.do(&PartitionPut{Meta: w.at(), Partition: p})
	}
	put("ml", api.TaskRules{MaxWaiting: 10})
	put("ml/train", api.TaskRules{MaxCPUs: 500})
	put("ml/web", api.TaskRules{})
	spec := func(kind api.Kind, path, name string, n int, cpus api.MilliCPU) *api.JobSpec {
		s := testSpec(kind, name, n)
		s.Partition, s.CPUs = path, cpus
		return s
	}
	try := func(what string, want api.Code, c Command) {
		t.Helper()
		if _, err := w.Do(t.Context(), c); api.ErrorCode(err) != want && (want != "" || err != nil) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	try("a large task", api.CodeDoesNotFit, &JobCreate{Meta: w.at(), Spec: spec(api.KindBatch, "ml/train", "", 1, 501)})
	try("six that wait", "", &JobCreate{Meta: w.at(), Spec: spec(api.KindBatch, "ml/train", "a", 6, 500)})
	try("the same again", "", &JobCreate{Meta: w.at(), Spec: spec(api.KindBatch, "ml/train", "a", 6, 500)})
	try("five more", api.CodeConflict, &JobCreate{Meta: w.at(), Spec: spec(api.KindBatch, "ml/web", "", 5, 100)})
	try("three more", "", &JobCreate{Meta: w.at(), Spec: spec(api.KindService, "ml/web", "web", 3, 100)})
	try("beyond, by scale", api.CodeConflict, &JobScale{Meta: w.at(), ID: "web", Count: 5})
	try("the last one, by scale", "", &JobScale{Meta: w.at(), ID: "web", Count: 4})
	w.do(&TaskCreate{Meta: w.at(), Job: "web", First: 3, Count: 1}) // as the controller does
	try("beyond, by update", api.CodeConflict, &JobUpdate{Meta: w.at(), ID: "web", Spec: spec(api.KindService, "ml/web", "web", 5, 100)})
	try("fewer", "", &JobScale{Meta: w.at(), ID: "web", Count: 1})
	put("ml/web", api.TaskRules{MaxCPUs: 50})
	same := spec(api.KindService, "ml/web", "web", 1, 100)
	same.Mem *= 2
	try("as many cpus as it had", "", &JobUpdate{Meta: w.at(), ID: "web", Spec: same})
	try("larger", api.CodeDoesNotFit, &JobUpdate{Meta: w.at(), ID: "web", Spec: spec(api.KindService, "ml/web", "web", 1, 101)})
	try("another partition's", "", &JobCreate{Meta: w.at(), Spec: spec(api.KindBatch, "default", "", 50, 900)})
}

// What partitions say of tasks is refused to a cluster with programs that do not
// know it.
func TestRulesNeedALevel(t *testing.T) {
	for level := range Newest + 1 {
		p := &api.Partition{Path: "ml", TaskRules: api.TaskRules{MaxWaiting: 1}}
		p.Normalize()
		s := testSpec(api.KindBatch, "", 1)
		for _, c := range []Command{&PartitionPut{Partition: p}, &JobCreate{Spec: s, Filled: []api.Filled{{Field: "cpus", Partition: "ml"}}}} {
			if err := storeAt(t, level).View().Allows(c); (err == nil) != (level >= 4) {
				t.Errorf("%T at level %d: %v", c, level, err)
			}
		}
	}
}
