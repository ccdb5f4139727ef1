package mesos_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// reservedFor is an amount that is reserved, in the form that a framework without
// RESERVATION_REFINEMENT says it in, or in that of one with it.
func reservedFor(role string, refined bool, r obj) obj {
	r = maps.Clone(r)
	if refined {
		r["reservations"] = []any{obj{"type": "DYNAMIC", "role": role, "labels": obj{"labels": []any{obj{"key": "for", "value": "db"}}}}}
	} else {
		r["role"], r["reservation"] = role, obj{"labels": obj{"labels": []any{obj{"key": "for", "value": "db"}}}}
	}
	return r
}

func operationOf(kind, id string, what obj) obj {
	return obj{"type": strings.ToUpper(kind), "id": value(id), kind: what}
}

// reserver is a framework that reads what became of its operations apart from its offers: of
// both it may be told first.
type reserver struct {
	*framework
	kept []obj // offers that came before
}

func (f *reserver) offers() []offered {
	f.of.t.Helper()
	if len(f.kept) > 0 {
		e := f.kept[0]
		f.kept = f.kept[1:]
		return offersIn(e)
	}
	return f.framework.offers()
}

// past takes an event that offers may come before.
func (f *reserver) past(kind string) obj {
	f.of.t.Helper()
	e := f.next()
	for ; e["type"] == "OFFERS"; e = f.next() {
		f.kept = append(f.kept, e)
	}
	if e["type"] != kind {
		f.of.t.Fatalf("%v, not %s", e, kind)
	}
	return e
}

// takes accepts offers with operations, of which the rest is wanted again.
func (f *reserver) takes(offers []any, ops ...any) {
	f.of.t.Helper()
	f.call("ACCEPT", obj{"accept": obj{"offer_ids": offers, "operations": ops, "filters": obj{"refuse_seconds": 0}}})
}

// operation takes what became of an operation.
func (f *reserver) operation(id, state, message string) {
	f.of.t.Helper()
	e := f.past("UPDATE_OPERATION_STATUS")
	s := at(e, "update_operation_status", "status")
	if str(s, "operation_id", "value") != id || str(s, "state") != state || !strings.Contains(str(s, "message"), message) {
		f.of.t.Fatalf("operation %s is %v, want %s: %s", id, s, state, message)
	}
}

// reservedIn is how many cpus of an offer are reserved, and for which role.
func reservedIn(o offered) (cpus float64, role string) {
	resources, _ := at(o.obj, "resources").([]any)
	for _, r := range resources {
		if at(r, "name") != "cpus" {
			continue
		}
		if s, _ := at(r, "reservations").([]any); len(s) == 1 {
			cpus, role = cpus+at(r, "scalar", "value").(float64), str(s[0], "role")
		} else if at(r, "reservation") != nil {
			cpus, role = cpus+at(r, "scalar", "value").(float64), str(r, "role")
		}
	}
	return cpus, role
}

// What was reserved was not offered as that: the filter of the call that did it does not keep
// it from being offered, while it does keep the rest, which has ports.
func TestWhatIsReservedIsOfferedAtOnce(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		c.do(&fsm.PartitionPut{Meta: c.meta(), Partition: &api.Partition{Path: "db", Weight: 1000, Guarantee: api.AmountsOf(api.Resources{CPUs: 4000, Mem: 4 << 30})}})
		f := &reserver{framework: c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"roles": []any{"db"}, "capabilities": capable("MULTI_ROLE")})})}
		o, began := f.offers(), time.Now()
		two := reservedFor("db", false, scalar("cpus", 2))
		f.call("ACCEPT", obj{"accept": obj{"offer_ids": ids(o...), "operations": []any{operationOf("reserve", "r", obj{"resources": []any{two}})},
			"filters": obj{"refuse_seconds": 3600}}})
		f.operation("r", "OPERATION_FINISHED", "")
		again := f.offers()
		if cpus, _ := reservedIn(again[0]); cpus != 2 || again[0].cpus != 2 || time.Since(began) > time.Second {
			t.Fatalf("%v is offered after %s", again[0].obj, time.Since(began))
		}
		f.quiet(time.Minute / 2)
		f.call("ACCEPT", obj{"accept": obj{"offer_ids": ids(again...), "operations": []any{operationOf("unreserve", "u", obj{"resources": []any{two}})},
			"filters": obj{"refuse_seconds": 3600}}})
		f.operation("u", "OPERATION_FINISHED", "")
		if all := f.offers(); all[0].cpus != 4 {
			t.Errorf("%v is offered once it is given back", all[0].obj)
		}
	})
}

// An operation of a call whose offers cannot be taken is told of once, with that, also where
// something else is wrong with it.
func TestOperationOfInvalidOffersIsToldOnce(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := &reserver{framework: c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})}
		f.takes(append(ids(f.offers()...), value("unknown")), operationOf("unreserve", "u", obj{"resources": []any{scalar("cpus", 1)}}))
		f.operation("u", "OPERATION_ERROR", "invalid offers")
		f.call("RECONCILE_OPERATIONS", obj{"reconcile_operations": obj{"operations": []any{obj{"operation_id": value("next")}}}})
		f.operation("next", "OPERATION_UNKNOWN", "")
	})
}

// What a framework reserves is a task's in the same call, is offered to its role alone, in
// the form that each knows, and is everybody's once it is given back. What cannot be done is
// said of the operation, and the others are done.
func TestReserve(t *testing.T) {
	for _, refined := range []bool{false, true} {
		t.Run(fmt.Sprint("refined ", refined), func(t *testing.T) {
			conformed(t, 1, func(t *testing.T, c *cluster) {
				c.do(&fsm.PartitionPut{Meta: c.meta(), Partition: &api.Partition{Path: "db", Weight: 1000, Guarantee: api.AmountsOf(api.Resources{CPUs: 4000, Mem: 4 << 30})}})
				c.partition("web")
				caps := []string{"MULTI_ROLE"}
				if refined {
					caps = append(caps, "RESERVATION_REFINEMENT")
				}
				f := &reserver{framework: c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"roles": []any{"db"}, "capabilities": capable(caps...)})})}
				two := reservedFor("db", refined, scalar("cpus", 2))
				mem := reservedFor("db", refined, scalar("mem", 1024))
				o := f.offers()
				f.takes(ids(o...),
					operationOf("reserve", "r1", obj{"resources": []any{two, mem}}),
					operationOf("reserve", "r2", obj{"resources": []any{reservedFor("db", refined, scalar("cpus", 3))}}),
					operationOf("unreserve", "u1", obj{"resources": []any{reservedFor("web", refined, scalar("cpus", 1))}}),
					obj{"type": "LAUNCH", "launch": obj{"task_infos": []any{task("a", "oak", obj{"resources": []any{
						reservedFor("db", refined, scalar("cpus", 1)), scalar("cpus", 1), reservedFor("db", refined, scalar("mem", 512))}})}}})
				f.operation("u1", "OPERATION_ERROR", "")
				f.operation("r1", "OPERATION_FINISHED", "")
				f.operation("r2", "OPERATION_ERROR", "needs 3 cpus, 2 free")
				left := f.offers()
				if cpus, role := reservedIn(left[0]); left[0].cpus != 2 || cpus != 1 || role != "db" {
					t.Fatalf("what is left is %v", left[0].obj)
				}
				u := c.store.View().Usage("db")
				if u.Allocated.CPUs != 3000 || u.Allocated.Mem != 1<<30 {
					t.Errorf("the partition holds %s", u.Allocated)
				}
				pause(time.Millisecond) // until the ACCEPT is through, whose filter would be the later one
				f.decline(3600, left...)
				other := c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"roles": []any{"web"}, "capabilities": capable("MULTI_ROLE")})})
				others := other.offers()
				if cpus, _ := reservedIn(others[0]); cpus != 0 || others[0].cpus != 1 {
					t.Errorf("another role is offered %v", others[0].obj)
				}
				other.decline(3600, others...)

				c.becomes(f.id, "a", api.TaskFinished)
				f.acknowledge(f.update("a", "TASK_FINISHED"))
				f.call("REVIVE", nil)
				for o = f.offers(); ; o = f.offers() {
					if cpus, _ := reservedIn(o[0]); cpus == 2 {
						break
					}
					f.decline(0, o...)
				}
				f.takes(ids(o...), operationOf("unreserve", "u2", obj{"resources": []any{two, mem}}))
				f.operation("u2", "OPERATION_FINISHED", "")
				if n := c.store.View().ReservationCount(); n != 0 {
					t.Errorf("%d reservations are left", n)
				}
			})
		})
	}
}

// What is not the framework's to reserve is refused, with what is wrong.
func TestReserveRefused(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		c.do(&fsm.PartitionPut{Meta: c.meta(), Partition: &api.Partition{Path: "db", Weight: 1000, Guarantee: api.AmountsOf(api.Resources{CPUs: 4000, Mem: 4 << 30})}})
		f := &reserver{framework: c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"roles": []any{"db"}, "capabilities": capable("MULTI_ROLE", "RESERVATION_REFINEMENT")})})}
		one := scalar("cpus", 1)
		with := func(r obj, more obj) obj {
			r = maps.Clone(r)
			maps.Copy(r, more)
			return r
		}
		stack := func(of ...any) obj { return obj{"reservations": of} }
		dynamic := obj{"type": "DYNAMIC", "role": "db"}
		i := 0
		for why, r := range map[string]obj{
			"not dynamically reserved":       one,
			"type is not DYNAMIC":            with(one, stack(obj{"type": "STATIC", "role": "db"})),
			"cannot be dynamically reserved": with(one, stack(obj{"type": "DYNAMIC", "role": "*"})),
			"reservation of a reservation":   with(one, stack(dynamic, dynamic)),
			"the offer is to role 'db'":      with(one, stack(obj{"type": "DYNAMIC", "role": "web"})),
			"has the principal 'ann'":        with(one, stack(with(dynamic, obj{"principal": "ann"}))),
			"revocable":                      with(with(one, stack(dynamic)), obj{"revocable": obj{}}),
			"9 cpus":                         with(scalar("cpus", 9), stack(dynamic)),
			"is nothing":                     with(scalar("cpus", 0), stack(dynamic)),
		} {
			i++
			f.takes(ids(f.offers()...), operationOf("reserve", fmt.Sprint("r", i), obj{"resources": []any{r}}))
			f.operation(fmt.Sprint("r", i), "OPERATION_ERROR", why)
		}
		if n := c.store.View().ReservationCount(); n != 0 {
			t.Errorf("%d reservations were made", n)
		}
		o := f.offers()
		f.takes(ids(o...), obj{"type": "LAUNCH", "launch": obj{"task_infos": []any{task("a", "oak", obj{"resources": []any{with(one, stack(dynamic)), scalar("mem", 64)}})}}})
		f.ofMaster(statusIn(f.past("UPDATE")), "REASON_TASK_INVALID", "it asks for more than was offered and is free still")
	})
}

// What became of an operation is told once; who asks later is told that it is not known.
func TestReconcileOperations(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := &reserver{framework: c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})}
		f.call("RECONCILE_OPERATIONS", obj{"reconcile_operations": obj{"operations": []any{obj{"operation_id": value("r1"), "agent_id": value("oak")}}}})
		f.operation("r1", "OPERATION_UNKNOWN", "no operation is remembered")
	})
}
