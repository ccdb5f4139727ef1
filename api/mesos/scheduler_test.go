package mesos

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// each runs a test with both forms of messages.
func each(t *testing.T, test func(t *testing.T, w *world, format wire.Format)) {
	for _, f := range []wire.Format{wire.JSON, wire.Protobuf} {
		t.Run(f.String(), func(t *testing.T) { test(t, newWorld(t, auth.Anybody), f) })
	}
}

// A task is started in an offer, what becomes of it is told until it is acknowledged,
// and once.
func TestTaskRunning(t *testing.T) {
	each(t, func(t *testing.T, w *world, format wire.Format) {
		s := w.subscribe(format, example())
		o := s.offer("o1")
		if o.AllocationInfo != nil || o.Resources[0].AllocationInfo != nil || o.Resources[0].GetRole() != "*" || o.URL.Address.IP == nil {
			t.Errorf("as a framework without capabilities is offered: %+v", o)
		}
		task := sleeper("t1")
		task.Resources = append(task.Resources, &v1.Resource{Name: "ports", Type: v1.ValueTypeRanges, Ranges: &v1.ValueRanges{Range: []*v1.ValueRange{{Begin: 31002, End: 31003}}}})
		s.launch("o1", task)
		row := w.store.View().FrameworkTask(s.id, "t1")
		if row == nil || row.Resources.CPUs != 100 || row.Resources.Mem != 32<<20 || row.Ports["p1"] != 31003 || !slices.Equal(row.Framework.Spec.Command, []string{"/bin/sh", "-c", "sleep 100"}) {
			t.Fatalf("%+v", row)
		}
		if g := row.Framework.Spec; g.StopGrace != api.Duration(defaultGrace) || g.Env["MESOS_FRAMEWORK_ID"] != s.id || g.User != api.TaskUser {
			t.Errorf("%+v", g)
		}
		s.becomes("t1", api.TaskRunning, 0)
		st := s.wantStatus("t1", v1.TaskStateRunning)
		if len(st.UUID) != 16 || st.AgentID.Value != "oak" || st.ExecutorID.Value != "t1" || v1.Get(st.Source) != executor || st.ContainerStatus == nil {
			t.Errorf("%+v", st)
		}
		s.becomes("t1", api.TaskFinished, 0)
		wrong := slices.Clone(st.UUID)
		wrong[0]++
		for _, uuid := range [][]byte{wrong, st.UUID} {
			s.call(v1.SchedulerCallTypeAcknowledge, &v1.SchedulerCall{Acknowledge: &v1.SchedulerCallAcknowledge{AgentID: st.AgentID, TaskID: st.TaskID, UUID: uuid}})
		}
		st = s.wantStatus("t1", v1.TaskStateFinished)
		if v1.Get(st.Message) != "Command exited with status 0" {
			t.Errorf("%q", v1.Get(st.Message))
		}
		s.call(v1.SchedulerCallTypeAcknowledge, &v1.SchedulerCall{Acknowledge: &v1.SchedulerCallAcknowledge{AgentID: st.AgentID, TaskID: st.TaskID, UUID: st.UUID}})
		until(t, "the end is acknowledged", func() bool {
			for range w.store.View().FrameworkNews(s.id) {
				return false
			}
			return true
		})
	})
}

// The rest of an offer that is taken, and what is declined, is refused for as long as
// the filter says; neither is rescinded.
func TestDecline(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	s := w.subscribe(wire.JSON, example())
	for i, c := range []struct {
		seconds *float64
		d       time.Duration
	}{{nil, 5 * time.Second}, {new(0.0), 0}, {new(-1.0), 5 * time.Second}, {new(1.5), 1500 * time.Millisecond}, {new(1e18), 365 * 24 * time.Hour}} {
		id := s.anew()
		s.call(v1.SchedulerCallTypeDecline, &v1.SchedulerCall{Decline: &v1.SchedulerCallDecline{OfferIDs: []*v1.OfferID{{Value: id}, {Value: "unknown"}}, Filters: &v1.Filters{RefuseSeconds: c.seconds}}})
		if w.store.View().Offer(id) != nil || len(w.desk.refused) != i+1 || w.desk.refused[i].d != c.d || w.desk.refused[i].room.CPUs != 1000 {
			t.Fatalf("%d: %+v", i, w.desk.refused)
		}
	}
	s.offer("o2")
	s.launch("o2", sleeper("t1"))
	if last := w.desk.refused[len(w.desk.refused)-1]; last.room.CPUs != 900 || last.d != 5*time.Second {
		t.Errorf("%+v", last)
	}
	s.offer("o3")
	w.do(&fsm.OfferRemove{IDs: []string{"o3"}})
	if e := s.want(v1.SchedulerEventTypeRescind); e.Rescind.OfferID.Value != "o3" {
		t.Errorf("%+v", e.Rescind)
	}
}

// With offers that cannot be taken nothing is started, and each task is told so.
func TestLaunchInvalidOffers(t *testing.T) {
	for name, aware := range map[string]bool{"TASK_LOST": false, "TASK_DROPPED": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, auth.Anybody)
			info := example()
			if aware {
				info.Capabilities = []*v1.FrameworkInfoCapability{{Type: new(v1.FrameworkInfoCapabilityTypePartitionAware)}}
			}
			s := w.subscribe(wire.JSON, info)
			s.offer("o1")
			s.launch("o1", sleeper("t1"))
			s.launch("o1", sleeper("t2"))
			st := s.next().Update.Status
			if st.State.String() != name || st.UUID != nil || v1.Get(st.Source) != master || v1.Get(st.Reason) != v1.TaskStatusReasonInvalidOffers || v1.Get(st.Message) != "Task launched with invalid offers: Offer o1 is no longer valid" {
				t.Errorf("%+v %s", st, v1.Get(st.Message))
			}
			if w.store.View().FrameworkTask(s.id, "t1") == nil || w.store.View().FrameworkTask(s.id, "t2") != nil {
				t.Error("the first was to start, and the second not")
			}
		})
	}
}

// A task that cannot be is refused by itself, with the reason; the others start.
func TestInvalidTasks(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	s := w.subscribe(wire.JSON, example())
	for says, change := range map[string]func(*v1.TaskInfo){
		"ID must not be empty":                                                                func(t *v1.TaskInfo) { t.TaskID.Value = "" },
		"'..' is disallowed":                                                                  func(t *v1.TaskInfo) { t.TaskID.Value = ".." },
		"'../x' contains invalid characters":                                                  func(t *v1.TaskInfo) { t.TaskID.Value = "../x" },
		"Task has duplicate ID: good-9":                                                       func(t *v1.TaskInfo) { t.TaskID.Value = "good-9" },
		"Task uses invalid agent elm while agent oak is expected":                             func(t *v1.TaskInfo) { t.AgentID.Value = "elm" },
		"Task's 'kill_policy.grace_period' must be non-negative":                              func(t *v1.TaskInfo) { t.KillPolicy = &v1.KillPolicy{GracePeriod: &v1.DurationInfo{Nanoseconds: -1}} },
		"Task uses no resources":                                                              func(t *v1.TaskInfo) { t.Resources = nil },
		"Only cpus and mem may be included in a task's resource limits":                       func(t *v1.TaskInfo) { t.Limits = map[string]*v1.ValueScalar{"disk": {Value: 1}} },
		"The cpus limit must be greater than or equal to the cpus request":                    func(t *v1.TaskInfo) { t.Limits = map[string]*v1.ValueScalar{"cpus": {Value: 0.01}} },
		"Task should have at least one (but not both) of CommandInfo or ExecutorInfo present": func(t *v1.TaskInfo) { t.Command = nil },
		"Task uses invalid check: CheckInfo must specify 'type'":                              func(t *v1.TaskInfo) { t.Check = &v1.CheckInfo{} },
		"Task uses invalid check: Expecting 'interval_seconds' to be non-negative": func(t *v1.TaskInfo) {
			t.Check = &v1.CheckInfo{Type: new(v1.CheckInfoTypeTCP), TCP: &v1.CheckInfoTcp{Port: 1}, IntervalSeconds: new(-1.0)}
		},
		"Task uses invalid health check: HealthCheck must specify 'type'": func(t *v1.TaskInfo) { t.HealthCheck = &v1.HealthCheck{} },
		"Task uses invalid health check: Expecting 'http' to be set for HTTP health check": func(t *v1.TaskInfo) {
			t.HealthCheck = &v1.HealthCheck{Type: new(v1.HealthCheckTypeHTTP)}
		},
		"Task uses invalid health check: Command health check must contain 'value'": func(t *v1.TaskInfo) {
			t.HealthCheck = &v1.HealthCheck{Type: new(v1.HealthCheckTypeCommand), Command: &v1.CommandInfo{}}
		},
		"70000 is not a port": func(t *v1.TaskInfo) {
			t.HealthCheck = &v1.HealthCheck{Type: new(v1.HealthCheckTypeTCP), TCP: &v1.HealthCheckTCPCheckInfo{Port: 70000}}
		},
		"http://x ends in no file name": func(t *v1.TaskInfo) { t.Command.URIs = []*v1.CommandInfoURI{{Value: "http://who:secret@x"}} },
		"hdfs://x/a cannot be fetched":  func(t *v1.TaskInfo) { t.Command.URIs = []*v1.CommandInfoURI{{Value: "hdfs://x/a"}} },
		"\"../a\" is not a name in the task's": func(t *v1.TaskInfo) {
			t.Command.URIs = []*v1.CommandInfoURI{{Value: "http://x/a", OutputFile: new("../a")}}
		},
		"it asks for more than was offered":                   func(t *v1.TaskInfo) { t.Resources[0].Scalar.Value = 1.001 },
		"anonymous runs tasks as \"" + api.TaskUser + "\" in": func(t *v1.TaskInfo) { t.Command.User = new("root") },
		"'container.type' comes with a later one":             func(t *v1.TaskInfo) { t.Container = &v1.ContainerInfo{Type: v1.ContainerInfoTypeDocker} },
		"'container.volumes' comes with a later one": func(t *v1.TaskInfo) {
			t.Container = &v1.ContainerInfo{Type: v1.ContainerInfoTypeMesos, Volumes: []*v1.Volume{{ContainerPath: "/x", Mode: v1.VolumeModeRw}}}
		},
		"'container.tty_info.window_size' has 70000 rows and 1 columns": func(t *v1.TaskInfo) {
			t.Container = &v1.ContainerInfo{Type: v1.ContainerInfoTypeMesos, TTYInfo: &v1.TTYInfo{WindowSize: &v1.TTYInfoWindowSize{Rows: 70000, Columns: 1}}}
		},
		"'health_check.command.user' is 'root', and the task runs as '" + api.TaskUser: func(t *v1.TaskInfo) {
			t.HealthCheck = &v1.HealthCheck{Type: new(v1.HealthCheckTypeCommand), Command: &v1.CommandInfo{Value: new("id"), User: new("root")}}
		},
		"'check.command.command.user' is '0', and the task runs as '" + api.TaskUser: func(t *v1.TaskInfo) {
			t.Check = &v1.CheckInfo{Type: new(v1.CheckInfoTypeCommand), Command: &v1.CheckInfoCommand{Command: &v1.CommandInfo{Value: new("id"), User: new("0")}}}
		},
	} {
		t.Run(says, func(t *testing.T) {
			if w.store.View().FrameworkTask(s.id, "good-9") == nil {
				s.launch(s.anew(), sleeper("good-9"))
			}
			bad, good := sleeper("bad"), sleeper("good "+says)
			good.TaskID.Value = strings.Map(func(r rune) rune { return map[bool]rune{true: r, false: '-'}[r != '/' && r != '\\'] }, good.TaskID.Value)
			change(bad)
			s.launch(s.anew(), bad, good)
			st := s.wantStatus(bad.TaskID.Value, v1.TaskStateError)
			reason := v1.TaskStatusReasonTaskInvalid
			if bad.Command != nil && bad.Command.User != nil || strings.Contains(says, "the task runs as") {
				reason = v1.TaskStatusReasonTaskUnauthorized
			}
			if !strings.Contains(v1.Get(st.Message), says) || v1.Get(st.Reason) != reason || st.UUID != nil || v1.Get(st.Source) != master {
				t.Errorf("%q %v", v1.Get(st.Message), st.Reason)
			}
			if w.store.View().FrameworkTask(s.id, good.TaskID.Value) == nil {
				t.Error("the other one is not started")
			}
		})
	}
}

// A framework that connects again takes over from its earlier connection.
func TestSchedulerFailover(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	info := example()
	info.FailoverTimeout = new(60.0)
	first := w.subscribe(wire.JSON, info)
	first.offer("o1")
	info.ID = &v1.FrameworkID{Value: first.id}
	second := w.subscribe(wire.Protobuf, info)
	first.wantEnd("Framework failed over")
	if second.id != first.id || second.stream == first.stream || w.store.View().Offer("o1") != nil {
		t.Errorf("%s %s, %s %s, %v", first.id, first.stream, second.id, second.stream, w.store.View().Offer("o1"))
	}
	_ = second.res.Body.Close()
	until(t, "it is known to be gone", func() bool { return !w.store.View().Framework(first.id).Connected })
}

// What is not kept for a framework that is gone ends with it, and it cannot come back.
func TestFrameworkRemoved(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	s := w.subscribe(wire.JSON, example())
	_ = s.res.Body.Close()
	until(t, "it is removed, as it has no failover_timeout", func() bool { return !w.store.View().Framework(s.id).Ended.IsZero() })
	info := example()
	info.ID = &v1.FrameworkID{Value: s.id}
	again := w.open(wire.JSON, &v1.SchedulerCall{FrameworkID: info.ID, Type: new(v1.SchedulerCallTypeSubscribe), Subscribe: &v1.SchedulerCallSubscribe{FrameworkInfo: info}})
	again.wantEnd("Framework has been removed")
	info.ID.Value = "an-id-that-nobody-gave"
	if other := w.subscribe(wire.JSON, info); other.id != info.ID.Value {
		t.Errorf("%s", other.id)
	}
}

// What is wrong with a subscription is told as its only event.
func TestRejectFrameworkWithInvalidRole(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	multi := []*v1.FrameworkInfoCapability{{Type: new(v1.FrameworkInfoCapabilityTypeMultiRole)}}
	for says, info := range map[string]*v1.FrameworkInfo{
		"Role '/a' cannot start with a slash":          {Role: new("/a")},
		"there is no partition of that name":           {Role: new("nowhere")},
		"'FrameworkInfo.role' must not be set":         {Role: new("*"), Capabilities: multi},
		"'FrameworkInfo.roles' must not be set":        {Roles: []string{"*"}},
		"contains duplicate items: *":                  {Roles: []string{"*", "*"}, Capabilities: multi},
		"failover_timeout (-1) is invalid":             {FailoverTimeout: new(-1.0)},
		"Framework ID is invalid: 'a/b' contains in":   {ID: &v1.FrameworkID{Value: "a/b"}},
		"Framework ID is invalid: 'mesita' is that of": {ID: &v1.FrameworkID{Value: "mesita"}},
	} {
		t.Run(says, func(t *testing.T) {
			info.User, info.Name = "u", "n"
			s := w.open(wire.JSON, &v1.SchedulerCall{FrameworkID: info.ID, Type: new(v1.SchedulerCallTypeSubscribe), Subscribe: &v1.SchedulerCallSubscribe{FrameworkInfo: info}})
			if got := s.want(v1.SchedulerEventTypeError).Error.Message; !strings.Contains(got, says) {
				t.Errorf("%q", got)
			}
			if _, err := s.events.Next(); err == nil {
				t.Error("the stream continues")
			}
		})
	}
}

// Tasks are told as they are known, and what is not known as that.
func TestReconcileTask(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	s := w.subscribe(wire.JSON, example())
	s.offer("o1")
	s.launch("o1", sleeper("t1"))
	s.call(v1.SchedulerCallTypeReconcile, &v1.SchedulerCall{Reconcile: &v1.SchedulerCallReconcile{}})
	if st := s.wantStatus("t1", v1.TaskStateStaging); st.UUID != nil || v1.Get(st.Message) != "Reconciliation: Latest task state" || v1.Get(st.Reason) != v1.TaskStatusReasonReconciliation {
		t.Errorf("%+v", st)
	}
	ask := func(agent *v1.AgentID) *v1.SchedulerCall {
		return &v1.SchedulerCall{Reconcile: &v1.SchedulerCallReconcile{Tasks: []*v1.SchedulerCallReconcileTask{{TaskID: &v1.TaskID{Value: "x"}, AgentID: agent}}}}
	}
	for says, agent := range map[string]*v1.AgentID{"Task is unknown": nil, "Task is unknown to the agent": {Value: "oak"}} {
		s.call(v1.SchedulerCallTypeReconcile, ask(agent))
		if st := s.wantStatus("x", v1.TaskStateLost); v1.Get(st.Message) != "Reconciliation: "+says {
			t.Errorf("%q", v1.Get(st.Message))
		}
	}
}

// A kill ends a task within the time that it or its task says; of an unknown one it is
// told how that is.
func TestKillTask(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	s := w.subscribe(wire.JSON, example())
	s.offer("o1")
	s.launch("o1", sleeper("t1"))
	s.becomes("t1", api.TaskRunning, 0)
	s.wantStatus("t1", v1.TaskStateRunning)
	kill := func(id string, agent *v1.AgentID) {
		s.call(v1.SchedulerCallTypeKill, &v1.SchedulerCall{Kill: &v1.SchedulerCallKill{TaskID: &v1.TaskID{Value: id}, AgentID: agent, KillPolicy: &v1.KillPolicy{GracePeriod: &v1.DurationInfo{Nanoseconds: int64(7 * time.Second)}}}})
	}
	kill("t1", &v1.AgentID{Value: "elm"})
	if row := w.store.View().FrameworkTask(s.id, "t1"); row.Desired != api.DesiredRun {
		t.Errorf("a kill on another agent: %+v", row)
	}
	kill("t1", nil)
	if row := w.store.View().FrameworkTask(s.id, "t1"); row.Desired != api.DesiredStop || row.Framework.Spec.StopGrace != api.Duration(7*time.Second) {
		t.Errorf("%+v", row)
	}
	kill("x", nil)
	s.wantStatus("x", v1.TaskStateLost)
}

// A framework that does not read is let go before what waits for it is too much.
func TestSessionIsBounded(t *testing.T) {
	s := newSession("f", wire.JSON, new(atomic.Int64))
	for range held.Count + 1 {
		s.push(event(v1.SchedulerEventTypeHeartbeat))
	}
	if events, _, ended := s.Take(); !ended || len(events) > 0 {
		t.Errorf("%d events wait for it", len(events))
	}
}

// A check that a task has is its own with Mesos' times, and what it finds is told, with the
// reason; the last of it is what is told again.
func TestChecksOfATask(t *testing.T) {
	w := newWorld(t, auth.Anybody)
	s := w.subscribe(wire.JSON, example())
	s.offer("o1")
	info := sleeper("web")
	info.HealthCheck = &v1.HealthCheck{Type: new(v1.HealthCheckTypeHTTP), HTTP: &v1.HealthCheckHTTPCheckInfo{Port: 8080}}
	info.Check = &v1.CheckInfo{Type: new(v1.CheckInfoTypeTCP), TCP: &v1.CheckInfoTcp{Port: 8080}}
	s.launch("o1", info)
	task := w.store.View().FrameworkTask(s.id, "web")
	spec := task.Framework.Spec
	if h := spec.Health; h == nil || h.Port != 8080 || h.Path != "/" || h.Scheme != "http" || h.Delay != api.Duration(15*time.Second) || h.Interval != api.Duration(10*time.Second) ||
		h.Timeout != api.Duration(20*time.Second) || h.Grace != api.Duration(10*time.Second) || h.Failures != 3 {
		t.Errorf("its health check is %+v", h)
	}
	if c := spec.Check; c == nil || c.Kind != api.ProbeTCP || c.Port != 8080 || c.Delay != api.Duration(15*time.Second) {
		t.Errorf("its check is %+v", c)
	}
	say := func(st api.TaskStatus) *v1.TaskStatus {
		t.Helper()
		st.Task, st.Attempt, st.NodeID, st.Time = task.ID, 1, "oak", testTime
		w.do(&fsm.TaskReport{Meta: fsm.Meta{At: testTime}, Statuses: []api.TaskStatus{st}})
		return s.wantStatus("web", rows.State(st.State))
	}
	acknowledge := func(st *v1.TaskStatus) {
		s.call(v1.SchedulerCallTypeAcknowledge, &v1.SchedulerCall{Acknowledge: &v1.SchedulerCallAcknowledge{AgentID: st.AgentID, TaskID: st.TaskID, UUID: st.UUID}})
	}
	closed := &api.ProbeStatus{Kind: api.ProbeTCP}
	if st := say(api.TaskStatus{State: api.TaskRunning, PID: 7, Check: closed}); st.Healthy != nil || st.CheckStatus == nil || st.CheckStatus.TCP == nil || st.CheckStatus.TCP.Succeeded != nil {
		t.Errorf("at first: %+v", st)
	} else {
		acknowledge(st)
	}
	if st := say(api.TaskStatus{State: api.TaskRunning, PID: 7, Check: closed, Healthy: new(true)}); v1.Get(st.Reason) != v1.TaskStatusReasonTaskHealthCheckStatusUpdated || !v1.Get(st.Healthy) || st.UUID == nil {
		t.Errorf("healthy: %+v", st)
	} else {
		acknowledge(st)
	}
	if st := say(api.TaskStatus{State: api.TaskRunning, PID: 7, Check: &api.ProbeStatus{Kind: api.ProbeTCP, Open: new(true)}, Healthy: new(true)}); v1.Get(st.Reason) != v1.TaskStatusReasonTaskCheckStatusUpdated ||
		!v1.Get(st.CheckStatus.TCP.Succeeded) {
		t.Errorf("open: %+v", st)
	} else {
		acknowledge(st)
	}
	if got := w.store.View().FrameworkTask(s.id, "web"); got.Reason != api.ReasonNone || !*got.Healthy {
		t.Errorf("the task is %+v", got)
	}
	if st := say(api.TaskStatus{State: api.TaskKilled, PID: 7, Healthy: new(false), Reason: api.ReasonHealth, Message: "its health check failed"}); v1.Get(st.Reason) != v1.TaskStatusReasonTaskHealthCheckStatusUpdated ||
		st.Healthy == nil || *st.Healthy || v1.Get(st.Message) != "its health check failed" {
		t.Errorf("killed: %+v", st)
	}
}
