package mesos_test

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// aware are frameworks that know of tasks that nobody can ask about, and that do not.
var aware = map[string]obj{"PARTITION_AWARE": {"capabilities": capable("PARTITION_AWARE"), "failover_timeout": 600}, "not aware": {"failover_timeout": 600}}

// as is a state as a framework of that kind knows it.
func as(special obj, state string) string {
	if special["capabilities"] == nil {
		return "TASK_LOST"
	}
	return state
}

// both runs a test with both kinds of framework, on a cluster of two nodes, with a task on
// the second.
func both(t *testing.T, test func(t *testing.T, c *cluster, f *framework, special obj)) {
	for name, special := range aware {
		t.Run(name, func(t *testing.T) {
			conformed(t, 2, func(t *testing.T, c *cluster) {
				f := c.nodes["oak"].subscribe(obj{"framework_info": info(special)})
				o := f.offers()
				for len(o) < 2 {
					o = append(o, f.offers()...)
				}
				f.decline(36000, on(o, "oak"))
				f.runs("t1", on(o, "elm"), 36000)
				f.deaf = true
				test(t, c, f, special)
			})
		})
	}
}

// What becomes of a task is told until it is acknowledged, the oldest first.
func TestTaskRunning(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		f.accept(ids(f.offers()...), 3600, []any{task("t1", "oak", nil)})
		c.becomes(f.id, "t1", api.TaskStarting)
		c.becomes(f.id, "t1", api.TaskRunning)
		s := f.update("t1", "TASK_STARTING")
		if s.source != "SOURCE_EXECUTOR" || s.uuid == "" || str(s.obj, "agent_id", "value") != "oak" || str(s.obj, "executor_id", "value") != "t1" || at(s.obj, "timestamp") == nil {
			t.Errorf("%v", s)
		}
		f.quiet(time.Second) // the next waits until this one is acknowledged
		f.acknowledge(s)
		s = f.update("t1", "TASK_RUNNING")
		if at(s.obj, "container_status", "executor_pid") != 77.0 || str(s.obj, "container_status", "network_infos", 0, "ip_addresses", 0, "ip_address") != "10.0.0.1" || str(s.obj, "container_status", "container_id", "value") == "" {
			t.Errorf("%v", s)
		}
		f.acknowledge(s)
		pause(time.Second)
		c.becomes(f.id, "t1", api.TaskFinished)
		f.acknowledge(f.update("t1", "TASK_FINISHED"))
		f.offers()
	})
}

// An update that is not acknowledged is sent again, after pauses that grow from 10 s to 10
// minutes; an acknowledgement of something else counts for nothing.
func TestStatusUpdateAck(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		f.accept(ids(f.offers()...), 360000, []any{task("t1", "oak", nil)})
		c.becomes(f.id, "t1", api.TaskRunning)
		s := f.update("t1", "TASK_RUNNING")
		for _, wrong := range []obj{
			{"agent_id": value("oak"), "task_id": value("t1"), "uuid": base64.StdEncoding.EncodeToString(make([]byte, 16))},
			{"agent_id": value("oak"), "task_id": value("t2"), "uuid": s.uuid},
			{"agent_id": value("oak"), "task_id": value(""), "uuid": s.uuid},
		} {
			f.call("ACKNOWLEDGE", obj{"acknowledge": wrong})
		}
		last, pause := time.Now(), 10*time.Second
		for range 10 {
			again := f.update("t1", "TASK_RUNNING")
			took := time.Since(last)
			if again.uuid != s.uuid || took < pause || took > 2*pause+time.Second {
				t.Errorf("sent again after %s, the pause is %s: %v", took, pause, again)
			}
			last, pause = time.Now(), min(2*pause, 10*time.Minute)
		}
		f.acknowledge(s)
		f.quiet(time.Hour)
		f.acknowledge(s) // once more
		f.quiet(time.Second)
	})
}

// What was not acknowledged is sent to who takes over, at once.
func TestUnacknowledgedTerminalTask(t *testing.T) {
	conformed(t, 2, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"failover_timeout": 60})})
		o := f.offers()
		f.runs("t1", o[0], 3600)
		c.becomes(f.id, "t1", api.TaskFinished)
		first := statusIn(f.next())
		for first.uuid == "" { // what is offered on the other node, or again
			first = statusIn(f.next())
		}
		again := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"id": value(f.id), "failover_timeout": 60}), "suppressed_roles": []any{"*"}})
		if s := again.update("t1", "TASK_FINISHED"); s.uuid != first.uuid || s.message != "Command exited with status 0" {
			t.Errorf("%v, not %v", s, first)
		}
		again.reconcile()
		s := again.update("t1", "TASK_FINISHED")
		again.ofMaster(s, "REASON_RECONCILIATION", "Reconciliation: Latest task state")
		c.leads("elm")
		last := c.nodes["elm"].subscribe(obj{"framework_info": info(obj{"id": value(f.id), "failover_timeout": 60}), "suppressed_roles": []any{"*"}})
		s = last.update("t1", "TASK_FINISHED")
		last.acknowledge(s)
		pause(time.Second)
		last.reconcile()
		last.quiet(time.Minute)
	})
}

// The newest state is what is told of a task by the leader, also while older ones wait to
// be acknowledged.
func TestReconcileStatusUpdateTaskState(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		f.accept(ids(f.offers()...), 3600, []any{task("t1", "oak", nil)})
		c.becomes(f.id, "t1", api.TaskStarting)
		f.update("t1", "TASK_STARTING")
		c.becomes(f.id, "t1", api.TaskRunning)
		f.reconcile([2]string{"t1", "oak"})
		f.ofMaster(f.update("t1", "TASK_RUNNING"), "REASON_RECONCILIATION", "Reconciliation: Latest task state")
	})
}

// A framework is told how a task is that it asks about, whatever it believes.
func TestReconcileTask(t *testing.T) {
	both(t, func(t *testing.T, c *cluster, f *framework, special obj) {
		for _, ask := range [][2]string{{"t1", "elm"}, {"t1", ""}, {"t1", "oak"}} {
			f.reconcile(ask)
			s := f.update("t1", "TASK_RUNNING")
			f.ofMaster(s, "REASON_RECONCILIATION", "Reconciliation: Latest task state")
			if str(s.obj, "agent_id", "value") != "elm" {
				t.Errorf("%v", s)
			}
		}
	})
}

func TestUnknownSlave(t *testing.T) {
	both(t, func(t *testing.T, c *cluster, f *framework, special obj) {
		for _, node := range []string{"nowhere", ""} {
			f.reconcile([2]string{"x", node})
			f.ofMaster(f.update("x", as(special, "TASK_UNKNOWN")), "REASON_RECONCILIATION", "Reconciliation: Task is unknown")
		}
	})
}

func TestUnknownTask(t *testing.T) {
	both(t, func(t *testing.T, c *cluster, f *framework, special obj) {
		f.reconcile([2]string{"x", "elm"}, [2]string{"y", "elm"})
		f.ofMaster(f.update("x", as(special, "TASK_GONE")), "REASON_RECONCILIATION", "Reconciliation: Task is unknown to the agent")
		f.update("y", as(special, "TASK_GONE"))
		c.lose("elm")
		f.unreachable(special)
		f.reconcile([2]string{"x", "elm"})
		s := f.update("x", as(special, "TASK_UNREACHABLE"))
		f.ofMaster(s, "REASON_RECONCILIATION", "Reconciliation: Task is unreachable")
		if at(s.obj, "unreachable_time", "nanoseconds") == nil {
			t.Errorf("%v", s)
		}
		c.do(&fsm.NodeRemove{Meta: c.meta(), ID: "elm", Force: true})
		f.update("t1", as(special, "TASK_GONE_BY_OPERATOR"))
		f.reconcile([2]string{"x", "elm"})
		f.ofMaster(f.update("x", as(special, "TASK_GONE_BY_OPERATOR")), "REASON_RECONCILIATION", "Reconciliation: Task is gone")
	})
}

// A kill of a task that is not known is a question about it.
func TestUnknownKillTask(t *testing.T) {
	both(t, func(t *testing.T, c *cluster, f *framework, special obj) {
		f.call("KILL", obj{"kill": obj{"task_id": value("x")}})
		f.ofMaster(f.update("x", as(special, "TASK_UNKNOWN")), "REASON_RECONCILIATION", "Reconciliation: Task is unknown")
		f.call("KILL", obj{"kill": obj{"task_id": value("x"), "agent_id": value("elm")}})
		f.ofMaster(f.update("x", as(special, "TASK_GONE")), "REASON_RECONCILIATION", "Reconciliation: Task is unknown to the agent")
	})
}

// Who asks about nothing in particular is told of all that runs, and of ends that it did
// not acknowledge.
func TestImplicitNonTerminalTask(t *testing.T) {
	both(t, func(t *testing.T, c *cluster, f *framework, special obj) {
		f.reconcile()
		f.ofMaster(f.update("t1", "TASK_RUNNING"), "REASON_RECONCILIATION", "Reconciliation: Latest task state")
		f.quiet(time.Second)
	})
}

func TestImplicitTerminalTask(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		f.runs("t1", f.offers()[0], 3600)
		c.becomes(f.id, "t1", api.TaskFailed)
		s := f.update("t1", "TASK_FAILED")
		if f.offers(); s.message != "Command exited with status 0" {
			t.Errorf("%v", s)
		}
		f.acknowledge(s)
		pause(time.Second)
		f.reconcile()
		f.quiet(time.Second)
	})
}

// A kill gives a task the time that it says, else the task's own, else 3 s; it may be said
// again, and a shorter time then counts.
func TestKillTask(t *testing.T) {
	for name, special := range map[string]obj{"TASK_KILLING_STATE": {"capabilities": capable("TASK_KILLING_STATE")}, "without": {}} {
		t.Run(name, func(t *testing.T) {
			conformed(t, 1, func(t *testing.T, c *cluster) {
				f := c.nodes["oak"].subscribe(obj{"framework_info": info(special)})
				o := f.offers()
				grace := func(ns int64) obj { return obj{"grace_period": obj{"nanoseconds": ns}} }
				f.accept(ids(o...), 3600, []any{task("plain", "oak", nil), task("own", "oak", obj{"kill_policy": grace(8e9)})})
				for _, id := range []string{"plain", "own"} {
					c.becomes(f.id, id, api.TaskRunning)
					f.acknowledge(f.update(id, "TASK_RUNNING"))
				}
				kill := func(id string, policy any, agent string, want time.Duration) {
					t.Helper()
					k := obj{"task_id": value(id), "kill_policy": policy}
					if agent != "" {
						k["agent_id"] = value(agent)
					}
					f.call("KILL", obj{"kill": k})
					row := c.store.View().FrameworkTask(f.id, id)
					if want == 0 && row.Desired == api.DesiredStop || want > 0 && (row.Desired != api.DesiredStop || time.Duration(row.Framework.Spec.StopGrace) != want) {
						t.Errorf("%s: %+v, %s", id, row, row.Framework.Spec.StopGrace)
					}
				}
				kill("plain", nil, "elm", 0)
				kill("plain", nil, "oak", 3*time.Second)
				kill("plain", nil, "", 3*time.Second)
				kill("own", nil, "", 8*time.Second)
				kill("own", grace(1e9), "oak", time.Second)
				kill("own", grace(60e9), "", time.Second)
				pause(time.Second)
				for _, id := range []string{"plain", "own"} {
					c.becomes(f.id, id, api.TaskKilling)
					if name != "without" {
						s := f.update(id, "TASK_KILLING")
						f.reconcile([2]string{id, ""})
						f.update(id, "TASK_KILLING")
						f.acknowledge(s)
					} else {
						f.reconcile([2]string{id, ""})
						f.update(id, "TASK_RUNNING")
					}
				}
				pause(time.Second)
				c.becomes(f.id, "own", api.TaskKilled)
				f.acknowledge(f.update("own", "TASK_KILLED"))
			})
		})
	}
}

// A node that does not answer: its tasks are so, too, until it does.
func TestPartitionedSlave(t *testing.T) {
	both(t, func(t *testing.T, c *cluster, f *framework, special obj) {
		c.lose("elm")
		f.unreachable(special)
		f.quiet(5 * time.Minute)
	})
}

// unreachable takes what is told of a node that does not answer and of the task there.
func (f *framework) unreachable(special obj) {
	f.of.t.Helper()
	var failed, told int
	for range 2 {
		switch e := f.next(); e["type"] {
		case "FAILURE":
			failed++
		case "UPDATE":
			told++
			s := statusIn(e)
			f.ofMaster(s, "REASON_AGENT_REMOVED", s.message)
			if s.task != "t1" || s.state != as(special, "TASK_UNREACHABLE") || special["capabilities"] != nil && at(s.obj, "unreachable_time", "nanoseconds") == nil {
				f.of.t.Errorf("%v", s)
			}
		default:
			f.of.t.Errorf("%v", e)
		}
	}
	if failed != 1 || told != 1 {
		f.of.t.Errorf("%d failures, %d updates", failed, told)
	}
}

// back takes what is told of a task once its node answers again.
func (f *framework) back(state string) {
	f.of.t.Helper()
	f.ofMaster(f.update("t1", state), "REASON_AGENT_REREGISTERED", "Unreachable agent re-reregistered")
}

func TestReregisterSlave(t *testing.T) {
	both(t, func(t *testing.T, c *cluster, f *framework, special obj) {
		c.lose("elm")
		f.unreachable(special)
		pause(time.Minute)
		f.reconcile()
		f.ofMaster(f.update("t1", as(special, "TASK_UNREACHABLE")), "REASON_RECONCILIATION", "Reconciliation: Latest task state")
		c.hello("elm")
		f.back("TASK_RUNNING")
		f.quiet(time.Minute)
		f.reconcile([2]string{"t1", "elm"})
		f.update("t1", "TASK_RUNNING")
		c.becomes(f.id, "t1", api.TaskFinished)
		f.acknowledge(f.update("t1", "TASK_FINISHED"))
	})
}

// A task that was told to end before its node was away is so still once it is back.
func TestKilledTaskOnPartitionedAgent(t *testing.T) {
	both(t, func(t *testing.T, c *cluster, f *framework, special obj) {
		f.call("KILL", obj{"kill": obj{"task_id": value("t1")}})
		c.becomes(f.id, "t1", api.TaskKilling)
		pause(time.Second) // it does not hear of that, as it does not know the state
		c.lose("elm")
		f.unreachable(special)
		c.hello("elm")
		pause(time.Second)
		if row := c.store.View().FrameworkTask(f.id, "t1"); row.State != api.TaskKilling {
			t.Errorf("%s", row.State)
		}
		f.back("TASK_RUNNING") // as it knows that
		c.becomes(f.id, "t1", api.TaskKilled)
		f.acknowledge(f.update("t1", "TASK_KILLED"))
	})
}

// What ended while its node did not answer is told once it does.
func TestTaskCompletedOnPartitionedAgent(t *testing.T) {
	both(t, func(t *testing.T, c *cluster, f *framework, special obj) {
		c.lose("elm")
		f.unreachable(special)
		c.hello("elm")
		c.becomes(f.id, "t1", api.TaskFinished)
		f.back("TASK_RUNNING")
		f.acknowledge(f.update("t1", "TASK_FINISHED"))
	})
}

// What has ended stays so, whatever becomes of its node.
func TestAgentWithTerminalTaskPartitioned(t *testing.T) {
	both(t, func(t *testing.T, c *cluster, f *framework, special obj) {
		c.becomes(f.id, "t1", api.TaskFinished)
		f.acknowledge(f.update("t1", "TASK_FINISHED"))
		c.lose("elm")
		f.want("FAILURE")
		c.hello("elm")
		f.quiet(time.Minute)
	})
}

// A framework that was away hears what became of its tasks' nodes once it is back.
func TestDisconnectedFramework(t *testing.T) {
	both(t, func(t *testing.T, c *cluster, f *framework, special obj) {
		f.leaves()
		pause(time.Second)
		c.lose("elm")
		pause(time.Second) // of which who connects meanwhile is told, too
		special = map[string]any{"capabilities": special["capabilities"], "failover_timeout": 600, "id": value(f.id)}
		again := c.nodes["oak"].subscribe(obj{"framework_info": info(special), "suppressed_roles": []any{"*"}})
		again.update("t1", as(special, "TASK_UNREACHABLE"))
	})
}

// With the node the leader may change: who is asked then says the same.
func TestPartitionedAgentThenMasterFailover(t *testing.T) {
	both(t, func(t *testing.T, c *cluster, f *framework, special obj) {
		c.lose("elm")
		f.unreachable(special)
		pause(time.Second)
		c.leads("oak")
		special = map[string]any{"capabilities": special["capabilities"], "failover_timeout": 600, "id": value(f.id)}
		again := c.nodes["oak"].subscribe(obj{"framework_info": info(special), "suppressed_roles": []any{"*"}})
		again.reconcile([2]string{"t1", "elm"})
		again.ofMaster(again.update("t1", as(special, "TASK_UNREACHABLE")), "REASON_RECONCILIATION", "Reconciliation: Latest task state")
	})
}

// A node that was marked as gone takes its tasks along.
func TestGoneByOperator(t *testing.T) {
	both(t, func(t *testing.T, c *cluster, f *framework, special obj) {
		c.do(&fsm.NodeRemove{Meta: c.meta(), ID: "elm", Force: true})
		var seen int
		for range 2 {
			if e := f.next(); e["type"] == "UPDATE" {
				s := statusIn(e)
				f.ofMaster(s, "REASON_AGENT_REMOVED_BY_OPERATOR", s.message)
				if seen++; s.state != as(special, "TASK_GONE_BY_OPERATOR") {
					t.Errorf("%v", s)
				}
			} else if e["type"] != "FAILURE" {
				t.Errorf("%v", e)
			}
		}
		if seen != 1 {
			t.Errorf("told %d times", seen)
		}
	})
}

// The id of a task that runs, or that nobody can ask about, is not given twice.
func TestDuplicateTaskID(t *testing.T) {
	both(t, func(t *testing.T, c *cluster, f *framework, special obj) {
		try := func(says string) {
			t.Helper()
			f.deaf = false
			f.call("REVIVE", nil)
			var o []offered
			for on(o, "oak").id == "" {
				if e := f.next(); e["type"] == "OFFERS" {
					o = offersIn(e)
				}
			}
			f.deaf = true
			f.accept(ids(on(o, "oak")), 3600, []any{task("t1", "oak", nil), task("other", "oak", nil)})
			f.ofMaster(f.update("t1", "TASK_ERROR"), "REASON_TASK_INVALID", says)
		}
		try("Task has duplicate ID: t1")
		c.becomes(f.id, "other", api.TaskFinished)
		f.acknowledge(f.update("other", "TASK_FINISHED"))
		c.lose("elm")
		f.unreachable(special)
		try("Task reuses the ID of an unreachable task: t1")
	})
}
