package mesos

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

func custom(id string) *v1.ExecutorInfo {
	return &v1.ExecutorInfo{Type: new(v1.ExecutorInfoTypeCustom), ExecutorID: &v1.ExecutorID{Value: id}, Name: new("Example"), Command: &v1.CommandInfo{Value: new("./executor"), URIs: []*v1.CommandInfoURI{{Value: "http://10.0.0.5/executor", Executable: new(true)}}},
		Resources: []*v1.Resource{scalar("cpus", 0.01), scalar("mem", 32)}}
}

// inExecutor has a custom executor run a task.
func inExecutor(id string) *v1.TaskInfo {
	t := sleeper(id)
	t.Command, t.Executor = nil, custom("default")
	return t
}

// said is what the executor of a task says of it.
func (s *scheduler) said(task, uuid string, state v1.TaskState) {
	s.t.Helper()
	t := s.store.View().FrameworkTask(s.id, task)
	st := &v1.TaskStatus{TaskID: &v1.TaskID{Value: task}, AgentID: &v1.AgentID{Value: "oak"}, ExecutorID: &v1.ExecutorID{Value: t.Framework.Executor}, State: state, UUID: []byte(uuid),
		Source: new(executor), Data: []byte("data"), Message: new("said")}
	b, err := wire.Marshal(wire.Protobuf, st)
	if err != nil {
		s.t.Fatal(err)
	}
	for ours := api.TaskStaging; ours <= api.TaskUnknown; ours++ {
		if rows.State(ours) == state {
			s.do(&fsm.TaskReport{Meta: fsm.Meta{At: testTime}, Statuses: []api.TaskStatus{{Task: t.ID, Attempt: 1, NodeID: "oak", State: ours, Time: testTime, Update: &api.ExecutorUpdate{ID: []byte(uuid), Status: b}}}})
		}
	}
}

func (s *scheduler) ends(row *api.Task, state api.TaskState, code int) {
	s.t.Helper()
	s.do(&fsm.TaskReport{Meta: fsm.Meta{At: testTime}, Statuses: []api.TaskStatus{{Task: row.ID, Attempt: 1, NodeID: "oak", State: state, PID: 7, ExitCode: &code, Reason: api.ReasonExited, Time: testTime}}})
}

// Two tasks of one executor are started with it, what it says is told as it was said, and
// an offer says that it is there.
func TestTaskRunningInACustomExecutor(t *testing.T) {
	each(t, func(t *testing.T, w *world, format wire.Format) {
		s := w.subscribe(format, example())
		s.offer("o1")
		s.launch("o1", inExecutor("t1"), inExecutor("t2"))
		v := w.store.View()
		e := v.Executor(s.id, "oak", "default")
		if e == nil || e.Resources.CPUs != 10 || e.Framework.Name != "Example" || !slices.Equal(e.Framework.Spec.Command, []string{"/bin/sh", "-c", "./executor"}) || e.Framework.Spec.StopGrace != api.Duration(executorGrace) || len(e.Framework.Spec.Fetch) != 1 {
			t.Fatalf("%+v", e)
		}
		var told rows.About
		if err := wire.Unmarshal(wire.Protobuf, e.Framework.Info, &told); err != nil || told.Executor.FrameworkID.Value != s.id || told.Framework.ID.Value != s.id || told.Framework.Name != "example" {
			t.Errorf("%v, %+v", err, told)
		}
		if free := v.Free("oak").CPUs; free != 4000-100-100-10 {
			t.Errorf("%s are free", free)
		}
		if last := w.desk.refused[len(w.desk.refused)-1]; last.room.CPUs != 1000-100-100-10 {
			t.Errorf("it refuses %s, and that is not what it left", last.room)
		}
		const one, two = "0123456789abcdef", "fedcba9876543210"
		s.said("t1", one, v1.TaskStateRunning)
		st := s.wantStatus("t1", v1.TaskStateRunning)
		if string(st.UUID) != one || string(st.Data) != "data" || st.ExecutorID.Value != "default" || v1.Get(st.Message) != "said" {
			t.Errorf("%+v", st)
		}
		s.call(v1.SchedulerCallTypeAcknowledge, &v1.SchedulerCall{Acknowledge: &v1.SchedulerCallAcknowledge{AgentID: st.AgentID, TaskID: st.TaskID, UUID: st.UUID}})
		s.said("t1", two, v1.TaskStateKilling) // which a framework that does not know it is not told
		if o := s.offer("o2"); len(o.ExecutorIDs) != 1 || o.ExecutorIDs[0].Value != "default" {
			t.Errorf("%+v", o.ExecutorIDs)
		}
		s.call(v1.SchedulerCallTypeReconcile, &v1.SchedulerCall{Reconcile: &v1.SchedulerCallReconcile{Tasks: []*v1.SchedulerCallReconcileTask{{TaskID: &v1.TaskID{Value: "t2"}}}}})
		if st := s.wantStatus("t2", v1.TaskStateStaging); st.ExecutorID.Value != "default" {
			t.Errorf("%+v", st)
		}
	})
}

// An executor that is told to end does; its framework is told of each task, and then of it.
func TestShutdownExecutor(t *testing.T) {
	each(t, func(t *testing.T, w *world, format wire.Format) {
		s := w.subscribe(format, example())
		s.offer("o1")
		s.launch("o1", inExecutor("t1"))
		e := w.store.View().Executor(s.id, "oak", "default")
		shutdown := func(id, node string) {
			s.call(v1.SchedulerCallTypeShutdown, &v1.SchedulerCall{Shutdown: &v1.SchedulerCallShutdown{ExecutorID: &v1.ExecutorID{Value: id}, AgentID: &v1.AgentID{Value: node}}})
		}
		shutdown("unknown", "oak")
		shutdown("default", "elm")
		if w.store.View().Task(e.ID).Desired != api.DesiredRun {
			t.Fatal("another executor is told to end")
		}
		shutdown("default", "oak")
		if w.store.View().Task(e.ID).Desired != api.DesiredStop {
			t.Fatal("it is not told to end")
		}
		s.offer("o2")
		s.launch("o2", inExecutor("t2"))
		if st := s.wantStatus("t2", v1.TaskStateLost); v1.Get(st.Reason) != v1.TaskStatusReasonExecutorTerminated || st.ExecutorID.Value != "default" {
			t.Errorf("%+v", st)
		}
		s.ends(e, api.TaskFailed, 3)
		if st := s.wantStatus("t1", v1.TaskStateFailed); v1.Get(st.Reason) != v1.TaskStatusReasonExecutorTerminated || v1.Get(st.Source) != v1.TaskStatusSourceAgent || st.UUID == nil {
			t.Errorf("%+v", st)
		}
		if f := s.want(v1.SchedulerEventTypeFailure).Failure; f.AgentID.Value != "oak" || f.ExecutorID.Value != "default" || v1.Get(f.Status) != 3<<8 {
			t.Errorf("%+v", f)
		}
	})
}

// Rules 9 and 10 of 2.2.4: what an executor has to be.
func TestInvalidExecutors(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	s := w.subscribe(wire.JSON, example())
	s.offer("o0")
	s.launch("o0", inExecutor("there"))
	for says, change := range map[string]func(*v1.ExecutorInfo){
		"Executor has an invalid ID: 'a/b'":            func(e *v1.ExecutorInfo) { e.ExecutorID.Value = "a/b" },
		"'ExecutorInfo.type' must be 'CUSTOM'":         func(e *v1.ExecutorInfo) { e.Type = new(v1.ExecutorInfoTypeDefault) },
		"'ExecutorInfo.command' must be set":           func(e *v1.ExecutorInfo) { e.Command = nil },
		"ExecutorInfo has an invalid FrameworkID":      func(e *v1.ExecutorInfo) { e.FrameworkID = &v1.FrameworkID{Value: "x"} },
		"'shutdown_grace_period' must be non-negative": func(e *v1.ExecutorInfo) { e.ShutdownGracePeriod = &v1.DurationInfo{Nanoseconds: -1} },
		"ExecutorInfo is not compatible":               func(e *v1.ExecutorInfo) { e.Labels = &v1.Labels{Labels: []*v1.Label{{Key: "a"}}} },
		"Total resources required by task":             func(e *v1.ExecutorInfo) { e.ExecutorID.Value, e.Resources[0].Scalar.Value = "big", 0.95 },
		"containers ('executor.container')":            func(e *v1.ExecutorInfo) { e.Container = &v1.ContainerInfo{Type: v1.ContainerInfoTypeMesos} },
		"CommandInfo has no value":                     func(e *v1.ExecutorInfo) { e.Command.Value = nil },
	} {
		t.Run(says, func(t *testing.T) {
			bad := inExecutor("bad")
			change(bad.Executor)
			s.launch(s.anew(), bad)
			if st := s.wantStatus("bad", v1.TaskStateError); !strings.Contains(v1.Get(st.Message), says) || v1.Get(st.Reason) != v1.TaskStatusReasonTaskInvalid {
				t.Errorf("%q %v", v1.Get(st.Message), st.Reason)
			}
		})
	}
}

func (s *scheduler) launchGroup(offer string, e *v1.ExecutorInfo, tasks ...*v1.TaskInfo) {
	s.t.Helper()
	s.call(v1.SchedulerCallTypeAccept, &v1.SchedulerCall{Accept: &v1.SchedulerCallAccept{OfferIDs: []*v1.OfferID{{Value: offer}},
		Operations: []*v1.OfferOperation{{Type: new(v1.OfferOperationTypeLaunchGroup), LaunchGroup: &v1.OfferOperationLaunchGroup{Executor: e, TaskGroup: &v1.TaskGroupInfo{Tasks: tasks}}}}}})
}

func defaultExecutor() *v1.ExecutorInfo {
	return &v1.ExecutorInfo{Type: new(v1.ExecutorInfoTypeDefault), ExecutorID: &v1.ExecutorID{Value: "pod"}, Resources: []*v1.Resource{scalar("cpus", 0.01), scalar("mem", 32), scalar("disk", 5)}}
}

// Tasks of a group are told as those of its executor; one that fails ends the others.
func TestTaskGroupRunning(t *testing.T) {
	each(t, func(t *testing.T, w *world, format wire.Format) {
		s := w.subscribe(format, example())
		s.offer("o1")
		s.launchGroup("o1", defaultExecutor(), sleeper("t1"), sleeper("t2"))
		for _, id := range []string{"t1", "t2"} {
			s.becomes(id, api.TaskRunning, 0)
			if st := s.wantStatus(id, v1.TaskStateRunning); st.ExecutorID.Value != "pod" {
				t.Errorf("%+v", st)
			}
		}
		row := w.store.View().FrameworkTask(s.id, "t2")
		if row.Framework.Spec.Env["MESOS_EXECUTOR_ID"] != "pod" || row.Desired != api.DesiredRun {
			t.Errorf("%+v", row.Framework.Spec.Env)
		}
		s.becomes("t1", api.TaskFailed, 1)
		if row = w.store.View().FrameworkTask(s.id, "t2"); row.Desired != api.DesiredStop {
			t.Errorf("it is wanted as %s", row.Desired)
		}
	})
}

// A group in which something is wrong does not start, and each of its tasks is told so.
func TestInvalidTaskGroups(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	s := w.subscribe(wire.JSON, example())
	for says, change := range map[string]func(*v1.ExecutorInfo, *v1.TaskInfo){
		"'ExecutorInfo.type' must be set":        func(e *v1.ExecutorInfo, _ *v1.TaskInfo) { e.Type = nil },
		"'ExecutorInfo.command' must not be set": func(e *v1.ExecutorInfo, _ *v1.TaskInfo) { e.Command = &v1.CommandInfo{} },
		"less than the 0.01 CPUs":                func(e *v1.ExecutorInfo, _ *v1.TaskInfo) { e.Resources[0].Scalar.Value = 0.009 },
		"less than the 32 MB":                    func(e *v1.ExecutorInfo, _ *v1.TaskInfo) { e.Resources[1].Scalar.Value = 31 },
		"uses no disk":                           func(e *v1.ExecutorInfo, _ *v1.TaskInfo) { e.Resources = e.Resources[:2] },
		"those of custom executors":              func(e *v1.ExecutorInfo, _ *v1.TaskInfo) { e.Type = new(v1.ExecutorInfoTypeCustom) },
		"'TaskInfo.executor' must not be set":    func(_ *v1.ExecutorInfo, t *v1.TaskInfo) { t.Executor = custom("x") },
		"Task 't2' is invalid: Task uses no":     func(_ *v1.ExecutorInfo, t *v1.TaskInfo) { t.Resources = nil },
		"Task 't2' is invalid: it asks for more": func(_ *v1.ExecutorInfo, t *v1.TaskInfo) { t.Resources[0].Scalar.Value = 0.95 },
		"Task 't1' is invalid: Task has duplic":  func(_ *v1.ExecutorInfo, t *v1.TaskInfo) { t.TaskID.Value = "t1" },
		"Resource limits are only allowed":       func(_ *v1.ExecutorInfo, t *v1.TaskInfo) { t.Limits = map[string]*v1.ValueScalar{"cpus": {Value: 1}} },
		"runs task groups without containers": func(e *v1.ExecutorInfo, _ *v1.TaskInfo) {
			e.Container = &v1.ContainerInfo{Type: v1.ContainerInfoTypeMesos}
		},
		"Docker ContainerInfo is not supported": func(e *v1.ExecutorInfo, _ *v1.TaskInfo) {
			e.Container = &v1.ContainerInfo{Type: v1.ContainerInfoTypeDocker}
		},
		"Task 't2' is invalid: user: anonymous runs ta": func(_ *v1.ExecutorInfo, t *v1.TaskInfo) { t.Command.User = new("root") },
	} {
		t.Run(says, func(t *testing.T) {
			e, bad := defaultExecutor(), sleeper("t2")
			change(e, bad)
			s.launchGroup(s.anew(), e, sleeper("t1"), bad)
			reason := v1.TaskStatusReasonTaskGroupInvalid
			if bad.Command.User != nil {
				reason = v1.TaskStatusReasonTaskGroupUnauthorized
			}
			for _, id := range []string{"t1", bad.TaskID.Value} {
				if st := s.wantStatus(id, v1.TaskStateError); !strings.Contains(v1.Get(st.Message), says) || v1.Get(st.Reason) != reason {
					t.Errorf("%q %v", v1.Get(st.Message), st.Reason)
				}
			}
			if w.store.View().FrameworkTask(s.id, "t1") != nil {
				t.Error("a part of the group is started")
			}
		})
	}
}

// The name of whoever runs anything on a node is in the one field of a spec that is settled
// when a task is launched: another one would be looked at by nobody.
func TestSpecsNameOneUser(t *testing.T) {
	var find func(at string, of reflect.Type) []string
	find = func(at string, of reflect.Type) (out []string) {
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			return find(at, of.Elem())
		case reflect.Struct:
			for f := range of.Fields() {
				if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); strings.Contains(strings.ToLower(f.Name+name), "user") || name == "runAs" {
					out = append(out, at+"."+f.Name)
				}
				out = append(out, find(at+"."+f.Name, f.Type)...)
			}
		}
		return out
	}
	if got := find("FrameworkLaunch", reflect.TypeFor[fsm.FrameworkLaunch]()); !slices.Equal(got, []string{"FrameworkLaunch.Task.Spec.TaskSpec.User", "FrameworkLaunch.Executor.Task.Spec.TaskSpec.User"}) {
		t.Errorf("users are named in %v: settle each when a task is launched", got)
	}
}
