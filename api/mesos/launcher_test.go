package mesos

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// rooted is a framework of a user that is root, in a partition and on a node that allow it.
func rooted(t *testing.T) *scheduler {
	w := newWorld(t, auth.Anybody)
	w.do(&fsm.PartitionPut{Meta: fsm.Meta{At: testTime}, Partition: &api.Partition{Path: api.DefaultPartition, Weight: 1000, AllowRoot: true}})
	n := w.store.View().Node("oak")
	w.do(&fsm.NodeHello{Meta: fsm.Meta{At: testTime}, ID: "oak", Hello: api.NodeHello{Addr: n.Addr, Level: n.Level, Resources: n.Resources, Attrs: map[string]string{api.AttrAllowRoot: "yes"}}})
	return w.subscribe(wire.JSON, example())
}

// Where tasks may be root those of frameworks are, whatever else they have.
func TestTasksAreRootWhereThatIsAllowed(t *testing.T) {
	s := rooted(t)
	for name, change := range map[string]func(*v1.TaskInfo){
		"plain": func(*v1.TaskInfo) {},
		"files": func(t *v1.TaskInfo) { t.Command.URIs = []*v1.CommandInfoURI{{Value: "http://10.0.0.5/a"}} },
		"check": func(t *v1.TaskInfo) {
			t.Check = &v1.CheckInfo{Type: new(v1.CheckInfoTypeTCP), TCP: &v1.CheckInfoTcp{Port: 1}}
		},
		"health": func(t *v1.TaskInfo) {
			t.HealthCheck = &v1.HealthCheck{Type: new(v1.HealthCheckTypeTCP), TCP: &v1.HealthCheckTCPCheckInfo{Port: 1}}
		},
		"terminal": func(t *v1.TaskInfo) {
			t.Container = &v1.ContainerInfo{Type: v1.ContainerInfoTypeMesos, TTYInfo: &v1.TTYInfo{}}
		},
		"executor": func(t *v1.TaskInfo) { t.Command, t.Executor = nil, custom("e") },
	} {
		for _, says := range []bool{false, true} {
			task := sleeper(fmt.Sprint(name, says))
			change(task)
			if command := task.Command; says {
				if command == nil {
					task.Executor.ExecutorID.Value = "other"
					command = task.Executor.Command
				}
				command.User = new("root")
			}
			s.launch(s.anew(), task)
			row := s.store.View().FrameworkTask(s.id, task.TaskID.Value)
			if row == nil {
				t.Errorf("%s, user said by itself %v: %s", name, says, v1.Get(s.next().Update.Status.Message))
				continue
			}
			if row.Hosted() {
				row = s.store.View().Executor(s.id, "oak", row.Framework.Executor)
			}
			if spec := row.Framework.Spec; spec.User != "root" || !spec.NeedsRootNode() {
				t.Errorf("%s, user said by itself %v: it runs as %q where %v", name, says, spec.User, spec.Constraints)
			}
		}
	}
}

// A task has a terminal if its container says so, as large as that says.
func TestTerminalsOfTasks(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	s := w.subscribe(wire.JSON, example())
	for name, c := range map[string]struct {
		container *v1.ContainerInfo
		want      *api.Terminal
	}{
		"no-container": {nil, nil},
		"no-terminal":  {&v1.ContainerInfo{Type: v1.ContainerInfoTypeMesos, Mesos: &v1.ContainerInfoMesosInfo{}}, nil},
		"usual":        {&v1.ContainerInfo{Type: v1.ContainerInfoTypeMesos, TTYInfo: &v1.TTYInfo{}}, &api.Terminal{}},
		"sized": {&v1.ContainerInfo{Type: v1.ContainerInfoTypeMesos, TTYInfo: &v1.TTYInfo{WindowSize: &v1.TTYInfoWindowSize{Rows: 33, Columns: 99}}},
			&api.Terminal{Rows: 33, Cols: 99}},
	} {
		task := sleeper(name)
		task.Container = c.container
		s.launch(s.anew(), task)
		row := w.store.View().FrameworkTask(s.id, name)
		if row == nil {
			t.Fatalf("%s: %s", name, v1.Get(s.next().Update.Status.Message))
		}
		got := row.Framework.Spec.TTY
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// tasksOf are many small tasks, each changed.
func tasksOf(n int, change func(*v1.TaskInfo)) (out []*v1.TaskInfo) {
	for i := range n {
		t := sleeper(fmt.Sprint("t", i))
		change(t)
		out = append(out, t)
	}
	return out
}

// Of whatever an ACCEPT starts as much is taken as the log takes in one command.
func TestAnAcceptIsBounded(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	w.subscribe(wire.JSON, example())
	long := strings.Repeat("x", 30<<10)
	for name, c := range map[string]struct {
		n, least int // tasks, and how many of them start
		change   func(*v1.TaskInfo)
	}{
		"small tasks": {10_000, 5000, func(t *v1.TaskInfo) { t.Resources = []*v1.Resource{scalar("cpus", 0.001), scalar("mem", 1)} }},
		"tasks of one executor": {10_000, 2000, func(t *v1.TaskInfo) {
			t.Command, t.Executor = nil, custom("e")
			t.Executor.Data = make([]byte, 100)
		}},
		"tasks of a large executor":    {200, 150, func(t *v1.TaskInfo) { t.Command, t.Executor = nil, custom("e"); t.Executor.Data = []byte(long) }},
		"tasks of executors of theirs": {10_000, 1000, func(t *v1.TaskInfo) { t.Executor, t.Command = custom(t.TaskID.Value), nil }},
		"long commands":                {200, 75, func(t *v1.TaskInfo) { t.Command.Value = &long }},
		"many files": {1000, 300, func(t *v1.TaskInfo) {
			for i := range api.MaxFetches {
				t.Command.URIs = append(t.Command.URIs, &v1.CommandInfoURI{Value: fmt.Sprint("http://a/", i), Executable: new(true)})
			}
		}},
		"many ports": {10_000, 1000, func(t *v1.TaskInfo) {
			t.Resources = append(t.Resources, &v1.Resource{Name: "ports", Type: v1.ValueTypeRanges, Ranges: &v1.ValueRanges{Range: []*v1.ValueRange{{Begin: 31000, End: 31000 + maxTaskPorts - 1}}}})
		}},
		"many variables": {4000, 500, func(t *v1.TaskInfo) {
			t.Command.Environment = &v1.Environment{}
			for i := range 100 {
				t.Command.Environment.Variables = append(t.Command.Environment.Variables, &v1.EnvironmentVariable{Name: fmt.Sprint(i), Value: new("")})
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			v := w.store.View()
			var l *launcher
			for f := range v.Frameworks() {
				l = newLauncher(v, auth.Identity{Actor: "ci", Rights: "deployer"}, f, &api.Offer{Partition: api.DefaultPartition, NodeID: "oak"})
			}
			tasks := tasksOf(c.n, c.change)
			launches, errs := l.operation("", operation{OfferOperation: &v1.OfferOperation{}, kind: v1.OfferOperationTypeLaunch, tasks: tasks})
			cmd := &fsm.FrameworkAccept{}
			for i := range tasks {
				if errs[i] == nil {
					cmd.Tasks = append(cmd.Tasks, l.launched(launches[i]))
				} else if !errors.Is(errs[i], tooMuch) {
					t.Fatal(errs[i])
				}
			}
			b, err := fsm.EncodeOne(cmd)
			t.Logf("%d of %d tasks start, with %d bytes", len(cmd.Tasks), len(tasks), len(b))
			if err != nil || len(cmd.Tasks) < c.least || len(cmd.Tasks) == len(tasks) {
				t.Errorf("%d of %d tasks start, at least %d should: %v", len(cmd.Tasks), len(tasks), c.least, err)
			}
		})
	}
}

// Files with cache are kept by their node where all voters know that word.
func TestKeptURIs(t *testing.T) {
	for level, want := range map[fsm.Level]bool{fsm.KeptFetches.Level() - 1: false, fsm.KeptFetches.Level(): true} {
		s := fsm.NewStore(nil)
		if _, err := s.Do(t.Context(), &fsm.ClusterInit{Level: level, Meta: fsm.Meta{At: testTime}, Cluster: &api.Cluster{ID: "c1", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "oak", Name: "oak"}}); err != nil {
			t.Fatal(err)
		}
		l := &launcher{view: s.View()}
		got := l.fetches(&v1.CommandInfo{URIs: []*v1.CommandInfoURI{{Value: "http://a/x", Cache: new(true)}, {Value: "http://a/y"}}})
		if got[0].Cache != want || got[1].Cache {
			t.Errorf("level %d: %+v", level, got)
		}
		packed := &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Command: []string{"true"}, Fetch: []api.Fetch{{URI: "http://a/x.tar.xz", Extract: true}}}}
		l.offer, l.id = &api.Offer{Partition: api.DefaultPartition, NodeID: "oak"}, auth.Identity{Actor: "ci", Rights: "deployer"}
		if err := l.settle(packed, &v1.CommandInfo{}); (err == nil) != want || !want && !strings.Contains(err.Error(), "http://a/x.tar.xz is packed with xz, which needs level 12") {
			t.Errorf("level %d: %v", level, err)
		}
		c := &fsm.FrameworkAccept{Tasks: []fsm.FrameworkLaunch{{Task: &api.FrameworkTask{Spec: &api.JobSpec{TaskSpec: api.TaskSpec{Fetch: []api.Fetch{{URI: "http://a/x", Cache: true}}}}}}}}
		if err := s.View().Allows(c); (err == nil) != want {
			t.Errorf("level %d: %v", level, err)
		}
	}
}
