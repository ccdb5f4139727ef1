package api

import "testing"

// TestIsRoot: whatever a node would take for its root is known as that.
func TestIsRoot(t *testing.T) {
	for user, root := range map[string]bool{
		"": true, "root": true, "0": true, "00": true, "000000000000": true, "root:adm": true, "0:7": true, ":7": true,
		"ann": false, "ann:root": false, "ann:0": false, "1": false, "0x0": false, "-0": false, "+0": false, "Root": false, TaskUser: false, "18446744073709551616": false,
	} {
		s := TaskSpec{User: user}
		if IsRoot(user) != root || (s.RunsAs() == "root") != root {
			t.Errorf("%q: root %v, runs as %q", user, IsRoot(user), s.RunsAs())
		}
	}
}

// TestOnlyWhereRoot: the condition is added once, and to no other spec's list.
func TestOnlyWhereRoot(t *testing.T) {
	shared := make([]Constraint, 1, 4)
	shared[0] = Constraint{Attr: "zone", Op: "=", Value: "a"}
	a, b := TaskSpec{Placing: Placing{Constraints: shared}}, TaskSpec{Placing: Placing{Constraints: append(shared, Constraint{Attr: "rack", Op: "=", Value: "1"})}}
	a.OnlyWhereRoot()
	a.OnlyWhereRoot()
	if len(a.Constraints) != 2 || !a.NeedsRootNode() || b.NeedsRootNode() || b.Constraints[1].Attr != "rack" {
		t.Errorf("%v, %v", a.Constraints, b.Constraints)
	}
	no := TaskSpec{Placing: Placing{Constraints: []Constraint{{Attr: AttrAllowRoot, Op: "!=", Value: "yes"}}}}
	if no.NeedsRootNode() {
		t.Error("who keeps away from such nodes is bound to them")
	}
}
