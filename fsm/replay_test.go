package fsm

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

func snapshotBytes(t *testing.T, s *Store) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Snapshot().Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// randomLog runs random commands on a store and returns their entries.
func randomLog(t *testing.T, seed uint64, n int, each func(*Store)) [][]byte {
	t.Helper()
	s := NewStore(nil)
	g := newGenerator(seed)
	var log [][]byte
	run := func(c Command) {
		if s.View().Allows(c) != nil {
			return
		}
		entry, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, entry)
		if _, err := s.Propose(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		each(s)
	}
	init := testInit()
	if init.Level = Level(seed % 2); g.frameworks { // 0: the log raises it
		init.Level = Newest
	}
	run(init)
	run(&TokenCreate{Meta: g.meta(), Token: &api.Token{ID: "t1", Kind: api.TokenJoin, Hash: "h"}})
	for range n {
		run(g.command(s.View()))
	}
	return log
}

// Applying a log twice, and through a snapshot at any index, gives the same
// bytes.
func TestReplay(t *testing.T) {
	for seed := range uint64(8) {
		var snaps [][]byte
		log := randomLog(t, seed, 250, func(s *Store) { snaps = append(snaps, snapshotBytes(t, s)) })
		for from := 0; from < len(log); from += 17 {
			s := NewStore(nil)
			if err := s.Restore(bytes.NewReader(snaps[from])); err != nil {
				t.Fatal(err)
			}
			for i, e := range log { // those before the snapshot are ignored
				if _, err := s.Apply([]Entry{{uint64(i + 1), e}}); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(snapshotBytes(t, s), snaps[len(snaps)-1]) {
				t.Fatalf("seed %d: replay from the snapshot at %d differs", seed, from+1)
			}
			checkSums(t, s.View())
		}
	}
}

// After every command: what is held never exceeds capacity, the ledger adds
// up, sums and counts equal what a slow recount finds.
func TestInvariants(t *testing.T) {
	for seed := range uint64(20) {
		randomLog(t, seed+100, 400, func(s *Store) { checkSums(t, s.View()) })
	}
}

func checkSums(t *testing.T, v *View) {
	t.Helper()
	held := map[string]api.Resources{}
	tasks := map[string]int{}
	counts := map[string]api.JobCounts{}
	usage := map[string]api.PartitionUsage{}
	pending, frozen, leaving := 0, 0, 0
	runs(t, v)
	frameworks(t.Fatalf, v)
	reservations(t.Fatalf, v, held, usage)
	for task := range v.Tasks() {
		if task.Holds() {
			if !held[task.NodeID].Ports.Minus(task.Resources.Ports).Contains(held[task.NodeID].Ports) {
				t.Fatalf("index %d: port of %s is held twice", v.Index(), task.ID)
			}
			held[task.NodeID] = held[task.NodeID].Add(task.Held())
			shared := task.Held()
			shared.Ports = nil
			u := usage[task.Partition]
			u.Allocated = u.Allocated.Add(shared)
			if task.Frozen {
				u.Frozen++
			}
			usage[task.Partition] = u
			tasks[task.NodeID]++
		}
		if task.Leaving() {
			leaving++
		}
		if task.Pending() {
			pending++
		}
		c := counts[task.Job]
		*v.t.bucket(&c, task)++
		counts[task.Job] = c
		if v.Job(task.Job) == nil {
			t.Fatalf("index %d: task %s has no job", v.Index(), task.ID)
		}
	}
	if pending != v.PendingCount() {
		t.Fatalf("index %d: %d pending, the index has %d", v.Index(), pending, v.PendingCount())
	}
	if v.Does(FinishedMoves) { // below, one that finished as it was to move is queued again
		gangs(t, v)
	}
	for o := range v.Offers() {
		u := usage[o.Partition]
		u.Offered = u.Offered.Add(charged(o.Resources))
		usage[o.Partition] = u
	}
	for p := range v.Partitions() {
		if _, some := usage[p.Path]; !some {
			usage[p.Path] = api.PartitionUsage{} // who holds nothing is counted so
		}
	}
	for path, want := range usage {
		if got := v.Usage(path); !got.Allocated.Equal(want.Allocated) || !got.Offered.Equal(want.Offered) || !got.Reserved.Equal(want.Reserved) || got.Reservations != want.Reservations || got.Frozen != want.Frozen {
			t.Fatalf("index %d: partition %s holds %+v, recount %+v", v.Index(), path, got, want)
		}
	}
	for range v.FrozenTasks() {
		frozen++
	}
	if frozen != v.FrozenCount() {
		t.Fatalf("index %d: %d tasks are frozen, the index has %d", v.Index(), frozen, v.FrozenCount())
	}
	for task := range v.LeavingTasks() {
		if leaving--; !task.Leaving() || !task.Holds() {
			t.Fatalf("index %d: %s is told to leave, by the index", v.Index(), task.ID)
		}
	}
	if leaving != 0 {
		t.Fatalf("index %d: %d tasks that are told to leave are not in the index, of %d", v.Index(), leaving, v.LeavingCount())
	}
	owners, programs := map[string]int{}, map[string]int{}
	for j := range v.Jobs() {
		for digest := range programsOf(j) {
			programs[digest]++
		}
		if !j.State.Ended() {
			owners[j.Owner()]++
		}
		if counts[j.ID] != j.Counts {
			t.Fatalf("index %d: job %s counts %+v, recount %+v", v.Index(), j.ID, j.Counts, counts[j.ID])
		}
		if is := len(j.Places) - 1; is >= 0 && (j.Places[is].Partition != j.Spec.Partition || j.Places[is].Version > j.Version || j.Places[is].Event > v.LastEvent() || is >= api.MaxPlaces) {
			t.Fatalf("index %d: job %s is in %s as of version %d, and says %+v", v.Index(), j.ID, j.Spec.Partition, j.Version, j.Places)
		}
		if j.State.Ended() == j.Ended.IsZero() {
			t.Fatalf("index %d: job %s is %s and ended %v", v.Index(), j.ID, j.State, j.Ended)
		}
	}
	for row := range all(v.t.owners.BTreeG) {
		if row.jobs != owners[row.user] {
			t.Fatalf("index %d: %s has %d jobs that have not ended, recount %d", v.Index(), row.user, row.jobs, owners[row.user])
		}
	}
	for row := range all(v.t.programs.BTreeG) {
		if row.versions != programs[row.digest] {
			t.Fatalf("index %d: %d versions run %s, recount %d", v.Index(), row.versions, row.digest, programs[row.digest])
		}
	}
	if len(programs) != v.t.programs.Len() {
		t.Fatalf("index %d: %d programs run, the index has %d", v.Index(), len(programs), v.t.programs.Len())
	}
	if len(owners) != v.t.owners.Len() {
		t.Fatalf("index %d: %d users have jobs that have not ended, the index has %d", v.Index(), len(owners), v.t.owners.Len())
	}
	for n := range v.Incidents() {
		if why := v.t.over(n); n.Over.IsZero() && why != "" && v.Does(IncidentsEnd) {
			t.Fatalf("index %d: incident %d (%s of %s) is open, and %s", v.Index(), n.ID, n.Kind, n.Object, why)
		}
	}
	for n := range v.Nodes() {
		l, k := v.Ledger(n.ID)
		sum := l.Allocated.Add(l.Reclaiming)
		if !sum.Equal(held[n.ID]) || k != tasks[n.ID] {
			t.Fatalf("index %d: node %s holds %v in %d tasks, recount %v in %d", v.Index(), n.Name, sum, k, held[n.ID], tasks[n.ID])
		}
		if got := l.Free.Add(l.Offered).Add(sum); !got.Equal(n.Resources) || l.Free.CPUs < 0 || l.Free.Mem < 0 || l.Free.MemLimit() < 0 {
			t.Fatalf("index %d: node %s: the ledger adds up to %v of %v, free %v", v.Index(), n.Name, got, n.Resources, l.Free)
		}
	}
}

// runs checks that runs of tasks are all tasks, from anywhere on.
func runs(t *testing.T, v *View) {
	t.Helper()
	var all, told []*api.Task
	for task := range v.Tasks() {
		all = append(all, task)
	}
	begin := 0
	if len(all) > 0 {
		begin = int(v.Index()) % len(all)
		v.TaskRuns(all[begin].Job, all[begin].Index)(func(j *api.Job, r TaskRun) bool {
			for i := range r.N {
				told = append(told, r.At(j, i))
				if like, is := r.Like(j), told[len(told)-1]; like.Pending() != is.Pending() || like.State != is.State || like.Desired != is.Desired || like.NodeID != is.NodeID || like.Frozen != is.Frozen {
					t.Fatalf("index %d: %s is like %v, and is %v", v.Index(), is.ID, like, is)
				}
			}
			return true
		})
	}
	if !reflect.DeepEqual(all[begin:], told) {
		t.Fatalf("index %d: runs from the %d. task on are %d tasks, want %d", v.Index(), begin, len(told), len(all)-begin)
	}
}

// gangs checks that no task of a gang is on a node while another one still has
// to be placed, but those that are told that they will be.
func gangs(t *testing.T, v *View) {
	t.Helper()
	for j := range v.Jobs() {
		if j.Spec.Gang == 0 || j.Stop {
			continue
		}
		waits, runs := 0, 0
		for task := range v.JobTasks(j.ID) {
			switch {
			case task.Pending():
				waits++
			case task.Holds() && (task.Desired == api.DesiredRun || task.Desired == api.DesiredFreeze):
				runs++
			}
		}
		if waits > 0 && runs > 0 {
			t.Fatalf("index %d: gang %s: %d run while %d wait", v.Index(), j.ID, runs, waits)
		}
	}
}

// Unknown fields of a newer version survive a round trip through the log and a
// snapshot of this one.
func TestUnknownFieldsSurvive(t *testing.T) {
	newer := map[string]any{"id": "c1", "name": "pine", "motto": "small"}
	body, err := marshal(newer)
	if err != nil {
		t.Fatal(err)
	}
	var c api.Cluster
	if err := unmarshal(body, &c); err != nil {
		t.Fatal(err)
	}
	if c.Name != "pine" {
		t.Fatalf("got %+v", c)
	}
	again, err := marshal(&c)
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := unmarshal(again, &back); err != nil {
		t.Fatal(err)
	}
	if back["motto"] != "small" {
		t.Fatalf("motto is lost: %v", back)
	}
}

// So do values of enums that this version has no name for.
func TestUnknownEnumSurvives(t *testing.T) {
	body, err := marshal(&api.Task{ID: "web.0", State: 77, Desired: 78})
	if err != nil {
		t.Fatal(err)
	}
	var back api.Task
	if err := unmarshal(body, &back); err != nil || back.State != 77 || back.Desired != 78 || back.State.Final() {
		t.Errorf("%+v: %v", back, err)
	}
}

func TestDecodeRefusesWhatItDoesNotKnow(t *testing.T) {
	good, _ := Encode(testInit())
	for name, entry := range map[string][]byte{
		"empty": {}, "version": {9, 1, 0}, "kind": {entryVersion, 99, 0}, "cut": good[:len(good)-3], "kind 0": {entryVersion, 0, 0},
	} {
		if _, err := Decode(entry); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

func BenchmarkApplyJobLifecycle(b *testing.B) {
	s := NewStore(nil)
	at := time.Now().UTC()
	ctx := context.Background()
	if _, err := s.Propose(ctx, testInit(), &NodeHello{Meta: Meta{At: at}, ID: nodeID(0), Hello: testHello(1000)}); err != nil {
		b.Fatal(err)
	}
	spec := testSpec(api.KindBatch, "", 1)
	need := api.Resources{CPUs: spec.CPUs, Mem: spec.Mem, Ports: api.Ranges{{First: 20000, Last: 20000}}}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		id := fmt.Sprint(i)
		code := 0
		_, err := s.Propose(ctx, &JobCreate{Meta: Meta{At: at}, Spec: spec},
			&TaskCreate{Meta: Meta{At: at}, Job: id, Count: 1},
			&TaskPlace{Meta: Meta{At: at}, Placements: []Placement{{Job: id, Attempt: 1, NodeID: nodeID(0), Resources: &need, Ports: map[string]int{"http": 20000}}}},
			&TaskReport{Meta: Meta{At: at}, Statuses: []api.TaskStatus{{Task: id + ".0", Attempt: 1, NodeID: nodeID(0), State: api.TaskRunning, PID: 5, Time: at}}},
			&TaskReport{Meta: Meta{At: at}, Statuses: []api.TaskStatus{{Task: id + ".0", Attempt: 1, NodeID: nodeID(0), State: api.TaskFinished, ExitCode: &code, Time: at}}})
		if err != nil {
			b.Fatal(err)
		}
	}
	if c := s.View().Job("1").Counts; c.Finished != 1 {
		b.Fatalf("job 1 did not finish: %+v", c)
	}
}
