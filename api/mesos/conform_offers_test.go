package mesos_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

const taskRunning = api.TaskRunning

// roles is a framework in several roles.
func roles(names ...any) obj { return obj{"roles": names, "capabilities": capable("MULTI_ROLE")} }

// What is declined is not offered again before the filter is over; what is more than that
// is at once.
func TestDecline(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		o := f.offers()
		f.runs("t1", o[0], 30)
		f.quiet(29 * time.Second)
		again := f.offers()
		if again[0].id == o[0].id || again[0].cpus != 3.5 {
			t.Errorf("%v", again)
		}
		f.decline(3600, again...)
		f.decline(0) // of nothing, as some frameworks do
		f.quiet(time.Minute)
		c.becomes(f.id, "t1", api.TaskFinished)
		f.update("t1", "TASK_FINISHED")
		if more := f.offers(); more[0].cpus != 4 {
			t.Errorf("what is more than it declined: %v", more)
		}
	})
}

// The default filter is of five seconds, also for who says a negative number; none is 0.
func TestDefaultFilter(t *testing.T) {
	for name, c := range map[string]struct {
		filters obj
		silent  time.Duration
	}{"unset": {nil, 5 * time.Second}, "negative": {obj{"refuse_seconds": -1}, 5 * time.Second}, "none": {obj{"refuse_seconds": 0}, 0}, "a number as a string": {obj{"refuse_seconds": "7.5"}, 7500 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			conformed(t, 1, func(t *testing.T, cl *cluster) {
				f := cl.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
				began := time.Now()
				f.call("DECLINE", obj{"decline": obj{"offer_ids": ids(f.offers()...), "filters": c.filters}})
				f.offers()
				// Mesos has each filter last for one round of its allocator at least.
				if took := time.Since(began); took < c.silent || took > c.silent+time.Second {
					t.Errorf("offered again after %s", took)
				}
			})
		})
	}
}

func TestRevive(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		f.decline(3600, f.offers()...)
		f.quiet(time.Minute)
		f.call("REVIVE", nil)
		began := time.Now()
		f.offers()
		if took := time.Since(began); took > 50*time.Millisecond {
			t.Errorf("after %s", took)
		}
	})
}

// REVIVE and SUPPRESS are of the roles that they name, and of none if one of them is not
// the framework's.
func TestReviveAndSuppressByRole(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		c.partition("a")
		c.partition("b")
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(roles("a", "b")), "suppressed_roles": []any{"a", "b"}})
		f.quiet(time.Minute)
		for _, wrong := range []any{"c", "*", "a/x", "/"} {
			f.call("REVIVE", obj{"revive": obj{"roles": []any{"a", wrong}}})
			f.quiet(time.Second)
		}
		f.call("REVIVE", obj{"revive": obj{"roles": []any{"b"}}})
		o := f.offers()
		if str(o[0].obj, "allocation_info", "role") != "b" || str(o[0].obj, "resources", 0, "allocation_info", "role") != "b" {
			t.Errorf("%v", o)
		}
		f.call("SUPPRESS", obj{"suppress": obj{"roles": []any{"b", "nobody's"}}})
		f.decline(0, o...)
		o = f.offers() // as that call counts for nothing
		f.call("SUPPRESS", obj{"suppress": obj{"roles": []any{"b"}}})
		f.decline(0, o...)
		f.quiet(time.Minute)
		f.call("REVIVE", nil)
		f.offers()
	})
}

// Who suppresses its offers gets no new ones, and what it has is good.
func TestSuppress(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		o := f.offers()
		f.call("SUPPRESS", nil)
		f.quiet(time.Second)
		f.runs("t1", o[0], 0)
		f.quiet(time.Minute)
		f.call("REVIVE", obj{"revive": nil})
		if o = f.offers(); o[0].cpus != 3.5 {
			t.Errorf("%v", o)
		}
	})
}

func TestNoOffersWithAllRolesSuppressed(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil), "suppressed_roles": []any{"*"}})
		f.quiet(time.Minute)
		f.call("REVIVE", nil)
		f.offers()
	})
}

func TestNoOffersOnReregistrationWithAllRolesSuppressed(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"failover_timeout": 60})})
		f.offers()
		again := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"id": value(f.id), "failover_timeout": 60}), "suppressed_roles": []any{"*"}})
		f.ends("Framework failed over")
		again.quiet(time.Minute)
		again.call("REVIVE", nil)
		again.offers()
	})
}

// An offer that nobody answers is taken back, and what was in it is offered anew.
func TestOfferTimeout(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		o := f.offers()
		began := time.Now()
		if e := f.want("RESCIND"); str(e, "rescind", "offer_id", "value") != o[0].id {
			t.Errorf("%v", e)
		}
		if took := time.Since(began); took < 59*time.Second || took > 61*time.Second {
			t.Errorf("after %s", took)
		}
		f.offers()
		f.accept(ids(o[0]), 0, []any{task("late", "oak", nil)})
		f.ofMaster(f.update("late", "TASK_LOST"), "REASON_INVALID_OFFERS", "Task launched with invalid offers: Offer "+o[0].id+" is no longer valid")
	})
}

func TestOfferNotRescindedOnceUsed(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		f.runs("t1", f.offers()[0], 3600)
		f.quiet(5 * time.Minute)
	})
}

func TestOfferNotRescindedOnceDeclined(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		f.decline(3600, f.offers()...)
		f.quiet(5 * time.Minute)
	})
}

// two has a framework with two offers of one node: of what a task left, and of what
// another one freed.
func two(c *cluster, f *framework) []offered {
	f.runs("first", f.offers()[0], 3600)
	f.call("REVIVE", nil)
	rest := f.offers()
	c.becomes(f.id, "first", api.TaskFinished)
	f.acknowledge(f.update("first", "TASK_FINISHED"))
	return append(rest, f.offers()...)
}

// Offers of one node are taken together by one call.
func TestLaunchCombinedOfferTest(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		o := two(c, f)
		if len(o) != 2 || o[0].cpus+o[1].cpus != 4 || o[0].cpus == 4 {
			t.Fatalf("%v", o)
		}
		big := task("big", "oak", obj{"resources": []any{scalar("cpus", 3.75), scalar("mem", 8000)}})
		f.accept(ids(o...), 0, []any{big}, []any{task("small", "oak", obj{"resources": []any{scalar("cpus", 0.25), scalar("mem", 64)}})})
		for _, id := range []string{"big", "small"} {
			c.becomes(f.id, id, taskRunning)
			f.update(id, "TASK_RUNNING")
		}
	})
}

// forms are a framework's two ways to hear of a task that did not start.
var forms = map[string]obj{"TASK_LOST": {}, "TASK_DROPPED": {"capabilities": capable("PARTITION_AWARE")}}

// What is wrong with the offers of a call is wrong for all of it: the offers are gone, and
// each task is told.
func invalidOffers(t *testing.T, nodes int, says string, take func(c *cluster, f *framework) ([]any, []offered)) {
	for state, special := range forms {
		t.Run(state, func(t *testing.T) {
			conformed(t, nodes, func(t *testing.T, c *cluster) {
				f := c.nodes["oak"].subscribe(obj{"framework_info": info(special)})
				list, gone := take(c, f)
				f.accept(list, 3600, []any{task("t1", "oak", nil)}, []any{task("t2", "oak", nil)})
				for _, id := range []string{"t1", "t2"} {
					s := f.update(id, state)
					if !strings.HasPrefix(s.message, "Task launched with invalid offers: ") || !strings.Contains(s.message, says) {
						t.Errorf("%q", s.message)
					}
					f.ofMaster(s, "REASON_INVALID_OFFERS", s.message)
				}
				for _, o := range gone {
					if c.store.View().Offer(o.id) != nil {
						t.Errorf("offer %s is there still", o.id)
					}
				}
				for _, id := range []string{"t1", "t2"} {
					if c.store.View().FrameworkTask(f.id, id) != nil {
						t.Errorf("%s started", id)
					}
				}
			})
		})
	}
}

func TestLaunchAcrossSlaves(t *testing.T) {
	invalidOffers(t, 2, "must belong to one single agent", func(_ *cluster, f *framework) ([]any, []offered) {
		o := f.offers()
		for len(o) < 2 {
			o = append(o, f.offers()...)
		}
		return ids(o...), o
	})
}

func TestLaunchDuplicateOffer(t *testing.T) {
	invalidOffers(t, 1, "Duplicate offer ", func(_ *cluster, f *framework) ([]any, []offered) {
		o := f.offers()
		return ids(o[0], o[0]), o
	})
}

func TestLaunchWithoutOffers(t *testing.T) {
	invalidOffers(t, 1, "No offers specified", func(_ *cluster, f *framework) ([]any, []offered) { f.offers(); return []any{}, nil })
}

func TestLaunchAnothersOffer(t *testing.T) {
	invalidOffers(t, 1, " is no longer valid", func(c *cluster, f *framework) ([]any, []offered) {
		o := f.offers()
		other := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		f.decline(3600, o...)
		return ids(other.offers()...), nil
	})
}

// An offer is answered once.
func TestAcceptedTwice(t *testing.T) {
	invalidOffers(t, 1, " is no longer valid", func(c *cluster, f *framework) ([]any, []offered) {
		o := f.offers()
		f.runs("first", o[0], 3600)
		return ids(o...), nil
	})
}

func TestLaunchDifferentRoleLost(t *testing.T) {
	conformed(t, 2, func(t *testing.T, c *cluster) {
		c.partition("a")
		c.partition("b")
		special := roles("a", "b")
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(special)})
		o := f.offers()
		for len(o) < 2 {
			o = append(o, f.offers()...)
		}
		if str(o[0].obj, "allocation_info", "role") == str(o[1].obj, "allocation_info", "role") {
			t.Fatalf("both are in one role: %v", o)
		}
		f.deaf = true
		f.accept(ids(o...), 3600, []any{task("t1", "oak", nil)})
		if s := f.update("t1", "TASK_LOST"); !strings.Contains(s.message, "Aggregated offers must be allocated to the same role. Offer "+o[1].id+" uses role "+str(o[1].obj, "allocation_info", "role")) {
			t.Errorf("%q", s.message)
		}
	})
}

// What a task held is offered again at once.
func TestRecoverResources(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		f.runs("t1", f.offers()[0], 3600)
		c.becomes(f.id, "t1", api.TaskFinished)
		began := time.Now()
		f.update("t1", "TASK_FINISHED") // which is not acknowledged
		if o := f.offers(); o[0].cpus != 4 {
			t.Errorf("%v", o)
		}
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("after %s", took)
		}
	})
}

// LAUNCH without tasks and ACCEPT without operations are ways to decline.
func TestAcceptOfNothingDeclines(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		f.accept(ids(f.offers()...), 10)
		f.quiet(9 * time.Second)
		f.accept(ids(f.offers()...), 10, []any{})
		f.quiet(9 * time.Second)
		f.offers()
	})
}

// A framework without MULTI_ROLE is in one role, and hears nothing of roles.
func TestMultiRoleFrameworkReceivesOffers(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		c.partition("a")
		one := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"role": "a"})})
		o := one.offers()[0]
		if o.obj["allocation_info"] != nil || at(o.obj, "resources", 0, "allocation_info") != nil || str(o.obj, "resources", 0, "role") != "*" {
			t.Errorf("%v", o)
		}
		one.decline(3600, o)
		special := roles("a", "*")
		special["capabilities"] = capable("MULTI_ROLE", "RESERVATION_REFINEMENT")
		o = c.nodes["oak"].subscribe(obj{"framework_info": info(special)}).offers()[0]
		role := str(o.obj, "allocation_info", "role")
		if role == "" || str(o.obj, "resources", 0, "allocation_info", "role") != role || at(o.obj, "resources", 0, "role") != nil {
			t.Errorf("%v", o)
		}
		if str(o.obj, "url", "address", "ip") == "" || str(o.obj, "hostname") != "oak" || str(o.obj, "framework_id", "value") == "" {
			t.Errorf("%v", o)
		}
	})
}

// Who leaves a role gives back what it was offered there, and is offered nothing more in it.
func TestMultiRoleSchedulerUnsubscribeFromRole(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		c.partition("a")
		c.partition("b")
		special := roles("a")
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(special)})
		o := f.offers()
		special["roles"] = []any{"b"}
		special["id"] = value(f.id)
		if a := f.raw(obj{"type": "UPDATE_FRAMEWORK", "update_framework": obj{"framework_info": info(special)}}); a.status != 200 || a.body != "" {
			t.Fatalf("%+v", a)
		}
		if e := f.want("RESCIND"); str(e, "rescind", "offer_id", "value") != o[0].id {
			t.Errorf("%v", e)
		}
		if again := f.offers(); str(again[0].obj, "allocation_info", "role") != "b" {
			t.Errorf("%v", again)
		}
	})
}

// A node that is lost takes its offers along, and each framework is told that it is.
func TestFailure(t *testing.T) {
	conformed(t, 2, func(t *testing.T, c *cluster) {
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		all := f.offers()
		for len(all) < 2 {
			all = append(all, f.offers()...)
		}
		c.lose("elm")
		var rescinded, failed bool
		for range 2 {
			switch e := f.next(); e["type"] {
			case "RESCIND":
				rescinded = str(e, "rescind", "offer_id", "value") == on(all, "elm").id
			case "FAILURE":
				failed = str(e, "failure", "agent_id", "value") == "elm" && at(e, "failure", "executor_id") == nil && at(e, "failure", "status") == nil
			default:
				t.Errorf("%v", e)
			}
		}
		if !rescinded || !failed {
			t.Errorf("rescinded %v, failed %v", rescinded, failed)
		}
		f.decline(3600, on(all, "oak"))
		c.do(&fsm.NodeRemove{Meta: c.meta(), ID: "elm"})
		f.quiet(time.Minute) // it is told once
		c.hello("oak")
	})
}
