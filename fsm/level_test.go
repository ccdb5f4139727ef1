package fsm

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// storeAt is a store with a cluster at that level.
func storeAt(t *testing.T, level Level) *Store {
	t.Helper()
	s := NewStore(nil)
	init := testInit()
	init.Level = level
	if _, err := s.Do(context.Background(), init); err != nil {
		t.Fatal(err)
	}
	return s
}

// The logs that programs of lower levels wrote are read as they are, and a
// command that uses nothing new is written as those programs write it: they
// vote beside this one.
func TestGoldenLevels(t *testing.T) {
	for level, n := range map[string]int{"level0": 27, "level1": 35, "level2": 35, "level3": 38, "level4": 42, "level5": 45, "level6": 45, "level7": 46, "level8": 47, "level9": 47, "level10": 47, "level11": 55} {
		files, err := filepath.Glob("testdata/" + level + "/*.bin")
		if err != nil || len(files) != n {
			t.Fatalf("%s: %d files, %v", level, len(files), err)
		}
		for _, f := range files {
			want, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			cmds, err := Decode(want)
			if err != nil {
				t.Errorf("%s: %v", f, err)
				continue
			}
			if got, err := Encode(cmds...); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s is not written again as it was: %v", f, err)
			}
		}
	}
}

func TestLevelRisesOnce(t *testing.T) {
	s := storeAt(t, 0)
	if l, err := s.Do(t.Context(), &LevelSet{Level: 1}); err != nil || l != Level(1) || s.View().Level() != 1 {
		t.Fatalf("raised to %v: %v", l, err)
	}
	for _, again := range []Level{0, 1} {
		if _, err := s.Do(t.Context(), &LevelSet{Level: again}); api.ErrorCode(err) != api.CodeConflict {
			t.Errorf("set to %d again: %v", again, err)
		}
	}
	back := NewStore(nil)
	if err := back.Restore(bytes.NewReader(snapshotBytes(t, s))); err != nil || back.View().Level() != 1 {
		t.Errorf("a snapshot gives level %d: %v", back.View().Level(), err)
	}
}

// What the level lacks is refused before it is in the log, and changes nothing.
func TestAboveTheLevel(t *testing.T) {
	hello := &NodeHello{ID: nodeID(0), Hello: testHello(1000)}
	hello.Hello.Level = 1
	s := storeAt(t, 0)
	before := s.View().Index()
	if _, err := s.Do(t.Context(), hello); api.ErrorCode(err) != api.CodeConflict || !strings.Contains(err.Error(), "NodeHello.hello.level needs level 1") {
		t.Errorf("at level 0: %v", err)
	}
	if r := s.View().Trial(hello); api.ErrorCode(r.Err) != api.CodeConflict {
		t.Errorf("a trial at level 0: %v", r.Err)
	}
	if s.View().Index() != before {
		t.Error("it is in the log")
	}
	s = storeAt(t, 1)
	if _, err := s.Do(t.Context(), hello); err != nil {
		t.Errorf("at level 1: %v", err)
	}
	n := s.View().Node(nodeID(0))
	if !s.View().NodeDoes(Levels, n) || s.View().NodeDoes(Levels, &api.Node{}) {
		t.Error("what a node does does not follow from what it said")
	}
}

// A voter below the level would drop what a spec says of its processes, and of
// the memory that they may use.
func TestProcessSpecsNeedALevel(t *testing.T) {
	for what, change := range map[string]func(*api.JobSpec) Level{
		"ulimits":    func(s *api.JobSpec) Level { s.Ulimits = []api.Ulimit{{Name: "core"}}; return 2 },
		"nice":       func(s *api.JobSpec) Level { s.Nice = 1; return 2 },
		"cpuLimit":   func(s *api.JobSpec) Level { s.CPULimit = 1000; return 2 },
		"group":      func(s *api.JobSpec) Level { s.User = "a:b"; return 2 },
		"memLimit":   func(s *api.JobSpec) Level { s.MemLimit, s.Nice = 1<<30, 1; return 3 },
		"unconfined": func(s *api.JobSpec) Level { s.Unconfined, s.Nice = []string{api.PartIPC}, 1; return 4 },
		"pin":        func(s *api.JobSpec) Level { s.CPUs, s.Pin = 1000, true; return 3 },
		"taskUser":   func(s *api.JobSpec) Level { s.User, s.Nice = api.TaskUser, 1; return 4 },
	} {
		for level := range Newest + 1 {
			s := storeAt(t, level)
			spec := testSpec(api.KindService, "web", 1)
			if _, err := s.Do(t.Context(), &JobCreate{Spec: spec}); err != nil {
				t.Fatal(err)
			}
			changed := testSpec(api.KindService, "web", 1)
			need := change(changed)
			_, err := s.Do(t.Context(), &JobUpdate{ID: "web", Spec: changed})
			changed.Name = "db"
			_, err2 := s.Do(t.Context(), &JobCreate{Spec: changed})
			if refused := api.ErrorCode(err) == api.CodeConflict && api.ErrorCode(err2) == api.CodeConflict; refused != (level < need) || !refused && (err != nil || err2 != nil) {
				t.Errorf("%s at level %d: %v, %v", what, level, err, err2)
			}
		}
	}
}

// A node that came back with an old program gets no task that it would run
// without what its spec says, whatever was decided before it came back.
func TestAnOldNodeGetsNoSpecThatItDoesNotKnow(t *testing.T) {
	nice, user := func(s *api.JobSpec) { s.Nice = 1 }, func(s *api.JobSpec) { s.User = api.TaskUser }
	for _, c := range []struct {
		of, node Level
		asks     func(*api.JobSpec)
		want     int
	}{{2, 1, nice, 1}, {2, 2, nice, 2}, {4, 3, user, 1}, {4, 4, user, 2}} {
		s := storeAt(t, c.of)
		do := func(c Command) any {
			t.Helper()
			v, err := s.Do(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		hello := testHello(1000)
		hello.Level = int(c.node)
		do(&NodeHello{ID: nodeID(0), Hello: hello})
		placed := 0
		for _, asks := range []func(*api.JobSpec){func(*api.JobSpec) {}, c.asks} {
			spec := testSpec(api.KindBatch, "", 1)
			spec.Ports = nil
			asks(spec)
			j := do(&JobCreate{Spec: spec}).(*api.Job)
			do(&TaskCreate{Job: j.ID, First: 0, Count: 1})
			placed += do(&TaskPlace{Placements: []Placement{{Job: j.ID, Index: 0, Attempt: 1, NodeID: nodeID(0)}}}).(int)
		}
		if placed != c.want {
			t.Errorf("a node of level %d in a cluster of %d: %d of 2 are placed, not %d", c.node, c.of, placed, c.want)
		}
	}
}

// A node, an offer or a placement with room for limits above guarantees, or with
// CPUs of its own, would be another one to a voter below level 3.
func TestRoomForLimitsAndPinsNeedsALevel(t *testing.T) {
	roomNeedsALevel(t, api.Resources{CPUs: 100, Mem: 1 << 20, MemExtra: 1 << 20})
	roomNeedsALevel(t, api.Resources{CPUs: 1000, Mem: 1 << 20, Pins: 1})
}

func roomNeedsALevel(t *testing.T, room api.Resources) {
	t.Helper()
	hello := testHello(1000)
	hello.Resources = room
	for _, c := range []Command{
		&NodeHello{ID: nodeID(0), Hello: hello},
		&OfferMake{Offers: []*api.Offer{{ID: "o", NodeID: nodeID(0), Resources: room}}},
		&TaskPlace{Placements: []Placement{{Job: "x", NodeID: nodeID(0), Resources: &room}}},
	} {
		for level := range Newest + 1 {
			s := storeAt(t, level)
			if err := s.View().Allows(c); (api.ErrorCode(err) == api.CodeConflict) != (level < 3) {
				t.Errorf("%T at level %d: %v", c, level, err)
			}
		}
	}
}

// Whatever is refused because of the level, by its kind, by a field or as a
// trial, says what it is and what to do, in the words of who knows the nodes.
func TestRefusalsSayWhatToUpgrade(t *testing.T) {
	s := storeAt(t, 0)
	s.SetLevelRemedy(func(need Level) string { return fmt.Sprintf("upgrade fir to level %d", need) })
	refused := func(c Command, what string, need Level) {
		t.Helper()
		want := fmt.Sprintf("%s needs level %d of the cluster, which is at level 0: upgrade fir to level %d", what, need, need)
		_, err := s.Do(t.Context(), c)
		for _, err := range []error{err, s.View().Trial(c).Err} {
			if api.ErrorCode(err) != api.CodeConflict || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	for _, k := range kinds {
		if k.make != nil && k.level > 0 {
			refused(k.make(), reflect.TypeOf(k.make()).Elem().Name(), k.level)
		}
	}
	seen := map[int]bool{}
	for _, f := range fields {
		if c := kinds[f.kind].make(); !seen[f.kind] && kinds[f.kind].level == 0 { // the first of several is told
			seen[f.kind] = true
			fill(reflect.ValueOf(c).Elem(), new(int))
			refused(c, reflect.TypeOf(c).Elem().Name()+"."+f.name, f.level)
		}
	}
}

// An array that older programs take for none is not written to a log that they read.
func TestLargeArraysNeedALevel(t *testing.T) {
	for tasks, need := range map[int]Level{api.SmallArray: 0, api.SmallArray + 1: 6, api.MaxArray: 6} {
		c := &JobCreate{Spec: testSpec(api.KindBatch, "wide", tasks)}
		for level := Level(0); level <= Newest; level++ {
			s := storeAt(t, level)
			if err := s.View().Allows(c); (err == nil) != (level >= need) || err != nil && !strings.Contains(err.Error(), "spec.array of more than 50,000 tasks needs level 6") {
				t.Errorf("%d tasks at level %d: %v", tasks, level, err)
			}
		}
	}
}

// What a spec needs of the level is named by what it has, whatever the level is.
func TestRefusalsNameTheFieldOfASpec(t *testing.T) {
	for what, s := range map[string]*api.JobSpec{
		"spec.user mesita-task needs level 4": {TaskSpec: api.TaskSpec{User: api.TaskUser, Nice: 3}},
		"spec.unconfined needs level 4":       {TaskSpec: api.TaskSpec{Unconfined: []string{api.PartSyscalls}}},
		"spec.memLimit or pin needs level 3":  {TaskSpec: api.TaskSpec{User: "ann:red", Placing: api.Placing{Request: api.Request{MemLimit: 1}}}},
	} {
		for level := Level(1); level < SpecLevel(s); level++ {
			for _, c := range []Command{&JobCreate{Spec: s}, &JobUpdate{Spec: s}} {
				if err := storeAt(t, level).View().Allows(c); err == nil || !strings.Contains(err.Error(), "."+what+" ") {
					t.Errorf("%T at level %d: %v, want %s", c, level, err, what)
				}
			}
		}
	}
}

// A level of a newer program halts this one, wherever it is met.
func TestLevelOfANewerProgram(t *testing.T) {
	init := testInit()
	init.Level = Newest + 1
	for _, c := range []Command{init, &LevelSet{Level: Newest + 1}} {
		entry, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(entry); err == nil || !strings.Contains(err.Error(), "upgrade mesita on this node") {
			t.Errorf("%T: %v", c, err)
		}
	}
	s := storeAt(t, Newest)
	s.t.level++
	if err := NewStore(nil).Restore(bytes.NewReader(snapshotBytes(t, s))); err == nil || !strings.Contains(err.Error(), "upgrade mesita on this node") {
		t.Errorf("snapshot: %v", err)
	}
}

// Each kind and each field names a level that this program knows, and each
// field is one that its command has.
func TestLevelsAreKnown(t *testing.T) {
	var err error
	for n, k := range kinds {
		err = errors.Join(err, k.level.known())
		if k.make != nil && kindOf(k.make()) != n {
			t.Errorf("the number of %T is %d", k.make(), kindOf(k.make()))
		}
	}
	for _, f := range features {
		err = errors.Join(err, f.level.known())
	}
	for _, f := range fields {
		err = errors.Join(err, f.level.known())
		c := kinds[f.kind].make()
		if f.used(c) {
			t.Errorf("%T.%s is used by an empty one", c, f.name)
		}
		fill(reflect.ValueOf(c).Elem(), new(int))
		switch c := c.(type) { // of a user, one value alone is new, and of an array the large ones
		case *JobCreate:
			c.Spec.User = api.TaskUser
			c.Spec.Kind, c.Spec.Gang, c.Spec.Array = api.KindBatch, 0, "1-100000"
		case *JobUpdate:
			c.Spec.User = api.TaskUser
		}
		if !f.used(c) {
			t.Errorf("%T.%s is not used by one with all fields set", c, f.name)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// Each field of a hello is in the one list of what a node says.
func TestAllThatANodeSays(t *testing.T) {
	h := reflect.TypeFor[api.NodeHello]()
	for i := range h.NumField() {
		var hello api.NodeHello
		fill(reflect.ValueOf(&hello).Elem().Field(i), new(int))
		taken := 0
		for _, f := range said {
			if f.take(new(api.Node), &hello) {
				taken++
			}
		}
		if taken != 1 {
			t.Errorf("%s is taken by %d of the list", h.Field(i).Name, taken)
		}
	}
}

// golden reads a file that the commit before levels wrote.
func golden(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "level0", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// goldenLog is 1,665 entries of random commands.
func goldenLog(t *testing.T) (log []Entry) {
	t.Helper()
	for b := golden(t, "log.gz"); len(b) > 0; {
		size, n := binary.Uvarint(b)
		log = append(log, Entry{Index: uint64(len(log) + 1), Data: b[n : n+int(size)]})
		b = b[n+int(size):]
	}
	return log
}

// plain is a snapshot without its compression.
func plain(t *testing.T, s *Store) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(snapshotBytes(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// At level 0 apply makes of a log, to the byte, what programs without levels
// made of it, events included: a cluster may hold voters of both. Whoever
// changes what apply does makes a Feature of it, and leaves these files alone.
func TestGoldenState(t *testing.T) {
	s := NewStore(nil)
	want := golden(t, "state.gz")
	for _, e := range goldenLog(t) {
		if _, err := s.Apply([]Entry{e}); err != nil {
			t.Fatal(err)
		}
	}
	if got := plain(t, s); !bytes.Equal(got, want) {
		t.Errorf("the state differs: %d bytes, want %d", len(got), len(want))
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	back := NewStore(nil)
	if err := back.Restore(&b); err != nil {
		t.Fatal(err)
	}
	if got := plain(t, back); !bytes.Equal(got, want) {
		t.Errorf("the snapshot of then is not written again as it was: %d bytes, want %d", len(got), len(want))
	}
	raise(t, s, back)
}

// raise brings both to the newest level, from where they continue alike.
func raise(t *testing.T, a, b *Store) {
	t.Helper()
	spec := &api.JobSpec{Partition: "fair", TaskSpec: api.TaskSpec{Command: []string{"/bin/learn", "x"}}}
	before, used := a.View().Learned(spec), a.View().Used(a.View().Partition("fair"), "ann", a.View().Partition("fair").Created.Add(10*time.Hour))
	for _, s := range []*Store{a, b} {
		if _, err := s.Do(t.Context(), &LevelSet{Meta: Meta{At: testInit().At.Add(100 * time.Hour)}, Level: Newest}); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(plain(t, a), plain(t, b)) {
		t.Error("after the raise one that applied the log and one that restored a snapshot differ")
	}
	v := a.View()
	after, usedAfter := v.Learned(spec), v.Used(v.Partition("fair"), "ann", v.Partition("fair").Created.Add(10*time.Hour))
	if before == 0 || (before-after).Abs() > time.Microsecond || used == 0 || math.Abs(usedAfter-used) > 1e-4*used {
		t.Errorf("learned %v before and %v after, used %v and %v", before, after, used, usedAfter)
	}
	checkSums(t, v)
}

// The log of TestGoldenState has no update that leaves the tasks as they are:
// what programs without levels said of one is said at level 0, and newer words
// only of what they did not know.
func TestUpdateWithoutLevels(t *testing.T) {
	for _, c := range []struct {
		level  Level
		change func(*api.JobSpec)
		want   string
	}{
		{0, func(s *api.JobSpec) { s.Labels = map[string]string{"team": "red"} }, "priority or labels; its tasks stay as they are"},
		{0, func(s *api.JobSpec) { s.Priority++ }, "priority or labels; its tasks stay as they are"},
		{0, func(s *api.JobSpec) { s.Count = new(3) }, "2 to 3"},
		{0, func(s *api.JobSpec) { s.Command = []string{"/bin/false"} }, "version 2"},
		{2, func(s *api.JobSpec) { s.CPULimit = 1500 }, "version 2"},
		{Newest, func(s *api.JobSpec) { s.CPULimit = 1500 }, "CPU limit none to 1.5, also of tasks that run"},
		{Newest, func(s *api.JobSpec) { s.AtMostOnce = !s.AtMostOnce }, "priority, labels or atMostOnce; its tasks stay as they are"},
	} {
		s := storeAt(t, c.level)
		if _, err := s.Do(t.Context(), &JobCreate{Spec: testSpec(api.KindService, "web", 2)}); err != nil {
			t.Fatal(err)
		}
		changed := testSpec(api.KindService, "web", 2)
		c.change(changed)
		if _, err := s.Do(t.Context(), &JobUpdate{ID: "web", Spec: changed}); err != nil {
			t.Fatal(err)
		}
		if e := s.RecentEvents(1)[0]; e.Message != c.want {
			t.Errorf("level %d: %q, want %q", c.level, e.Message, c.want)
		}
	}
}

// A limit of CPU that moves is told to the nodes on which tasks of the job run,
// and to no other, though their tasks are as they were. If one of them has a
// program that would leave a task the limit it has, all tasks are replaced.
func TestNodesAreToldOfALimit(t *testing.T) {
	for _, c := range []struct{ level, version int }{{int(Newest), 1}, {2, 2}} {
		w := newWorld(t, Newest, 2)
		w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, "web", 1)})
		w.place("web.0", 1)
		h := testHello(64000)
		h.Level = c.level
		w.do(&NodeHello{Meta: w.at(), ID: nodeID(1), Hello: h})
		spec := *w.View().Job("web").Spec
		spec.CPULimit = 1500
		var told [2]*Watcher
		for i := range told {
			told[i] = w.WatchKey(nodeID(i), TableNodeTasks)
			defer told[i].Close()
			<-told[i].Ready()
			told[i].Take()
		}
		w.do(&JobUpdate{Meta: w.at(), ID: "web", Spec: &spec})
		if j := w.View().Job("web"); j.Version != c.version || j.Spec.CPULimit != 1500 {
			t.Errorf("level %d: version %d, limit %d", c.level, j.Version, j.Spec.CPULimit)
		}
		live := c.version == 1
		for i, want := range []bool{false, live} {
			if changes, all := told[i].Take(); (len(changes) > 0) != want || all {
				t.Errorf("level %d: node %d is told %v", c.level, i, changes)
			}
		}
		got := w.View().Assignments(nodeID(1))
		if job := w.View().Job("web"); len(got) != 1 || got[0].Submission != job.Seq || job.Seq == 0 {
			t.Errorf("level %d: submission %d: %+v", c.level, job.Seq, got)
		}
		if len(got) != 1 || got[0].Task.Version != 1 || (got[0].Spec.CPULimit == 1500) != live {
			t.Errorf("level %d: %+v", c.level, got)
		}
	}
}
