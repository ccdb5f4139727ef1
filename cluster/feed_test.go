package cluster

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// voters are stores that apply the same log, each as far as it has come.
type voters struct {
	log    []fsm.Command
	stores []*fsm.Store
	done   []int // entries that each has applied
}

func (v *voters) apply(t *rapid.T, i, upTo int) {
	for ; v.done[i] < upTo; v.done[i]++ {
		_, _ = v.stores[i].Do(t.Context(), v.log[v.done[i]]) // a refusal is the same on all
	}
}

// randomChange is a command about a few jobs, some of whose tasks run on "b".
func randomChange(t *rapid.T, v *fsm.View) fsm.Command {
	meta := fsm.Meta{At: time.Unix(1_800_000_000, 0)}
	name := fmt.Sprint("j", rapid.IntRange(0, 2).Draw(t, "job"))
	spec := &api.JobSpec{Name: name, Kind: api.KindService, Count: new(int), TaskSpec: api.TaskSpec{Command: []string{"/bin/true"},
		Placing: api.Placing{Request: api.Request{CPUs: api.MilliCPU(rapid.IntRange(1, 4).Draw(t, "cpus")), Mem: 1 << 20}}}}
	*spec.Count = 3
	spec.Normalize()
	index := rapid.IntRange(0, 2).Draw(t, "index")
	attempt := 1
	if task := v.Task(fmt.Sprintf("%s.%d", name, index)); task != nil {
		attempt = task.Attempt
	}
	node := rapid.SampledFrom([]string{"a", "b", "b"}).Draw(t, "node")
	switch rapid.IntRange(0, 9).Draw(t, "change") {
	case 8:
		return &fsm.ReservationChange{Meta: meta, NodeID: node, Steps: []fsm.ReservationStep{
			{Kind: fsm.StepReserve, Partition: api.DefaultPartition, Resources: api.Resources{Disk: 1}},
			{Kind: fsm.StepCreate, Partition: api.DefaultPartition, Resources: api.Resources{Disk: 1}, Volume: &api.Volume{ID: name, Path: "data"}}}}
	case 9:
		return &fsm.ReservationChange{Meta: meta, NodeID: node, Steps: []fsm.ReservationStep{
			{Kind: fsm.StepDestroy, Partition: api.DefaultPartition, Resources: api.Resources{Disk: 1}, Volume: &api.Volume{ID: name, Path: "data"}}}}
	case 0:
		return &fsm.JobCreate{Meta: meta, Spec: spec}
	case 1:
		return &fsm.JobUpdate{Meta: meta, Spec: spec}
	case 2:
		return &fsm.TaskReport{Meta: meta, Statuses: []api.TaskStatus{{Task: fmt.Sprintf("%s.%d", name, index), Attempt: attempt, NodeID: node,
			State: rapid.SampledFrom([]api.TaskState{api.TaskStarting, api.TaskRunning, api.TaskFailed}).Draw(t, "state")}}}
	case 7:
		return &fsm.JobScale{Meta: meta, ID: name, Count: index + 1}
	case 3, 4:
		return &fsm.TaskCreate{Meta: meta, Job: name, Count: 3}
	}
	return &fsm.TaskPlace{Meta: meta, Placements: []fsm.Placement{{Job: name, Index: index, Attempt: attempt, NodeID: node}}}
}

func byID(t *rapid.T, list []api.Assignment) map[string]string {
	out := map[string]string{}
	for _, a := range list {
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		out[a.Task.ID] = string(b)
	}
	return out
}

// A worker that continues at any voter, after any index, has the list that a
// whole answer of that voter has; and it never takes a step back.
func TestFeedGoesOnAtAnyVoter(t *testing.T) {
	draw.Check(t, func(t *rapid.T) {
		v := &voters{done: make([]int, 3)}
		meta := fsm.Meta{At: time.Unix(1_800_000_000, 0)}
		resources, err := api.ParseResources("cpus=4,mem=4GiB,disk=4GiB")
		if err != nil {
			t.Fatal(err)
		}
		v.log = []fsm.Command{
			&fsm.ClusterInit{Level: rapid.SampledFrom([]fsm.Level{0, fsm.Newest}).Draw(t, "level"), Meta: meta, Cluster: &api.Cluster{ID: "c"}, Authority: &api.Authority{}, Node: &api.Node{ID: "a", Name: "a"}},
			&fsm.TokenCreate{Meta: meta, Token: &api.Token{ID: "t", Hash: "h"}},
			&fsm.NodeJoin{Meta: meta, Token: "t", Hash: "h", NodeID: "b", Name: "b"},
			&fsm.NodeHello{Meta: meta, ID: "a", Hello: api.NodeHello{Addr: "a:1", Resources: resources}},
			&fsm.NodeHello{Meta: meta, ID: "b", Hello: api.NodeHello{Addr: "b:1", Resources: resources}}}
		for range v.done {
			v.stores = append(v.stores, fsm.NewStore(nil))
		}
		var known feed
		var from *server.Feed
		var volumes []string
		at := 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			v.apply(t, 0, len(v.log)) // the leader
			v.log = append(v.log, randomChange(t, v.stores[0].View()))
			i := rapid.IntRange(0, 2).Draw(t, "voter")
			v.apply(t, i, rapid.IntRange(v.done[i], len(v.log)).Draw(t, "applied"))
			if from == nil || rapid.Bool().Draw(t, "another voter") {
				at, from = i, nil
			}
			view := v.stores[at].View()
			if from == nil {
				if view.Index() < known.index {
					before := maps.Clone(known.have)
					row, _ := server.NewFeed("b", 0).Row(view)
					if known.take(&row) == nil || !maps.Equal(before, known.have) {
						t.Fatalf("a list of %d was taken after one of %d", view.Index(), known.index)
					}
					continue
				}
				from = server.NewFeed("b", known.index)
			}
			row, news := from.Row(view)
			if row.Volumes != nil {
				volumes = *row.Volumes
			}
			if want := view.VolumeFolders("b"); !slices.Equal(volumes, want) {
				t.Fatalf("at %d the worker keeps the volumes %v, the voter %v", view.Index(), volumes, want)
			}
			if !news {
				if row.Volumes != nil {
					t.Fatalf("at %d the worker is not told of volumes", view.Index())
				}
				continue
			}
			if err := known.take(&row); err != nil {
				t.Fatal(err)
			}
			if got, want := byID(t, known.list()), byID(t, view.Assignments("b")); !maps.Equal(got, want) {
				t.Fatalf("at %d the worker has %v, the voter %v", view.Index(), slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
			}
		}
	})
}

func TestFeedRefusesWhatItCannotUse(t *testing.T) {
	task := func(id string) api.Assignment {
		return api.Assignment{Task: &api.Task{ID: id}, Spec: &api.TaskSpec{}}
	}
	known := feed{}
	if err := known.take(&server.FeedRow{Index: 5, Begin: true, Held: []string{"a.0"}, Put: []api.Assignment{task("a.0")}}); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]server.FeedRow{
		"an older state":      {Index: 4, Begin: true},
		"a task of no words":  {Index: 6, Begin: true, Held: []string{"a.0", "b.0"}},
		"an empty assignment": {Index: 6, Put: []api.Assignment{{}}},
	} {
		if known.take(&r) == nil || known.index != 5 || len(known.have) != 1 {
			t.Errorf("%s was taken: %+v", name, known)
		}
	}
}
