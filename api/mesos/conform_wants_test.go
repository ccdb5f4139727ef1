package mesos_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Who says what it waits for is offered that, although others would take what there is of it
// piece by piece.
func TestRequest(t *testing.T) {
	conformed(t, 2, func(t *testing.T, c *cluster) {
		small := c.nodes["oak"].subscribe(obj{"framework_info": info(nil)})
		small.deaf = true
		var o []offered
		for len(o) < 2 {
			o = append(o, offersIn(<-small.events)...)
		}
		for i, of := range o {
			small.runs([]string{"a", "b"}[i], of, 0)
		}
		big := c.nodes["oak"].subscribe(obj{"framework_info": info(nil), "suppressed_roles": []any{"*"}})
		big.call("REQUEST", obj{"request": obj{"requests": []any{
			obj{"resources": []any{scalar("cpus", -1)}}, // which is nothing
			obj{"resources": []any{scalar("cpus", 4), scalar("mem", 8000)}},
		}}})
		big.call("REVIVE", nil)
		seen := map[string]bool{} // nodes of which something is offered to anybody
		for i := range 300 {
			for _, f := range []*framework{small, big} {
				for len(f.events) > 0 {
					for _, of := range offersIn(<-f.events) {
						if i > 60 { // what was offered before it said so is taken back
							seen[of.agent] = true
						}
						f.decline(0, of)
					}
				}
			}
			pause(time.Second)
		}
		if len(seen) != 1 {
			t.Fatalf("offers of %v, of which one was to be kept", seen)
		}
		for agent, id := range map[string]string{"oak": "a", "elm": "b"} {
			if c.store.View().FrameworkTask(small.id, id).NodeID != agent {
				id = map[string]string{"a": "b", "b": "a"}[id]
			}
			if !seen[agent] {
				c.becomes(small.id, id, api.TaskFinished)
			}
		}
		for e := big.next(); e["type"] != "OFFERS" || offersIn(e)[0].cpus != 4; e = big.next() {
		}
	})
}

// A framework may say which nodes it wants to be offered, by role.
func TestOfferConstraints(t *testing.T) {
	conformed(t, 3, func(t *testing.T, c *cluster) {
		for id, rack := range map[string]string{"oak": "r1", "elm": "r12"} {
			n := c.store.View().Node(id)
			c.do(&fsm.NodeHello{Meta: c.meta(), ID: id, Hello: api.NodeHello{Addr: n.Addr, Level: n.Level, Resources: n.Resources, Attrs: map[string]string{"rack": rack}}})
		}
		by := func(selector obj, predicate string, value obj) obj {
			return obj{"selector": selector, "predicate": obj{predicate: value}}
		}
		rack, host := obj{"attribute_name": "rack"}, obj{"pseudoattribute_type": "HOSTNAME"}
		all := func(groups ...[]any) obj {
			var out []any
			for _, g := range groups {
				out = append(out, obj{"attribute_constraints": g})
			}
			return obj{"role_constraints": obj{"*": obj{"groups": out}}}
		}
		for name, try := range map[string]struct {
			constraints obj
			nodes       string
		}{
			"exists":           {all([]any{by(rack, "exists", obj{})}), "elm oak"},
			"does not":         {all([]any{by(rack, "not_exists", obj{})}), "fir"},
			"equals":           {all([]any{by(rack, "text_equals", obj{"value": "r1"})}), "oak"},
			"equals not":       {all([]any{by(rack, "text_not_equals", obj{"value": "r1"})}), "elm fir"},
			"matches whole":    {all([]any{by(rack, "text_matches", obj{"regex": "r."})}), "oak"},
			"matches not":      {all([]any{by(rack, "text_not_matches", obj{"regex": "r."})}), "elm fir"},
			"alternatives":     {all([]any{by(host, "text_matches", obj{"regex": "oak|elm"})}), "elm oak"},
			"hostname":         {all([]any{by(host, "text_equals", obj{"value": "fir"})}), "fir"},
			"no zone":          {all([]any{by(obj{"pseudoattribute_type": "ZONE"}, "not_exists", obj{})}), "elm fir oak"},
			"both of a group":  {all([]any{by(rack, "exists", obj{}), by(host, "text_not_equals", obj{"value": "oak"})}), "elm"},
			"one of two":       {all([]any{by(host, "text_equals", obj{"value": "fir"})}, []any{by(rack, "text_equals", obj{"value": "r1"})}), "fir oak"},
			"of no role":       {obj{"role_constraints": obj{}}, "elm fir oak"},
			"of another group": {all([]any{by(rack, "text_equals", obj{"value": "none"})}), ""},
		} {
			f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil), "offer_constraints": try.constraints})
			pause(100 * time.Millisecond)
			var got []string
			for len(f.events) > 0 {
				for _, o := range offersIn(<-f.events) {
					got = append(got, o.agent)
				}
			}
			slices.Sort(got)
			if strings.Join(got, " ") != try.nodes {
				t.Errorf("%s: offers of %v, not of %s", name, got, try.nodes)
			}
			f.raw(obj{"type": "TEARDOWN"})
		}
		for says, m := range map[string]obj{
			"not contained in the list of roles":          {"role_constraints": obj{"other": obj{"groups": []any{obj{"attribute_constraints": []any{by(rack, "exists", obj{})}}}}}},
			"has an empty 'RoleConstraints::groups'":      {"role_constraints": obj{"*": obj{}}},
			"contains an empty RoleConstraints::Group":    all([]any{}),
			"Unknown predicate type":                      all([]any{by(rack, "smells", obj{})}),
			"Exactly one of 'AttributeConstraint::Select": all([]any{by(obj{}, "exists", obj{})}),
			"Failed to construct regex":                   all([]any{by(rack, "text_matches", obj{"regex": "("})}),
			"is too complex":                              all([]any{by(rack, "text_matches", obj{"regex": "(a{20}){20}"})}),
			"from pattern of 5000 bytes":                  all([]any{by(rack, "text_matches", obj{"regex": strings.Repeat("a", 5000)})}),
		} {
			c.nodes["oak"].open(obj{"framework_info": info(nil), "offer_constraints": m}).ends(says)
		}
		f := c.nodes["oak"].subscribe(obj{"framework_info": info(nil), "offer_constraints": all([]any{by(host, "text_equals", obj{"value": "nowhere"})})})
		f.quiet(time.Minute)
		update := func(m obj) answer {
			return f.raw(obj{"type": "UPDATE_FRAMEWORK", "update_framework": obj{"framework_info": info(obj{"id": value(f.id)}), "offer_constraints": m}})
		}
		if a := update(all([]any{})); a.status != 400 || !strings.Contains(a.body, "contains an empty RoleConstraints::Group") {
			t.Errorf("%+v", a)
		}
		if a := update(all([]any{by(host, "text_equals", obj{"value": "elm"})})); a.status != 200 {
			t.Errorf("%+v", a)
		}
		if o := f.offers(); len(o) != 1 || o[0].agent != "elm" {
			t.Errorf("%v", o)
		}
	})
}
