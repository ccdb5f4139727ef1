package integration

import (
	"encoding/json"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// The doctor finds nothing that fails in a cluster that works, names from each node the
// one that does not answer, by TCP and by UDP, and counts the voters that are left.
func TestDoctor(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	look := func(n *lab.Node, want int) map[string][]api.Check {
		t.Helper()
		out, errs, code := n.CLI("doctor", "-o", "json")
		if code != want {
			t.Errorf("exit code %d, want %d: %s%s", code, want, out, errs)
		}
		var all []api.Check
		if err := json.Unmarshal([]byte(out), &all); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		by := map[string][]api.Check{}
		for _, c := range all {
			by[c.Node+"/"+c.What] = append(by[c.Node+"/"+c.What], c)
			if (c.Fix == "") != (c.State == api.CheckOK) {
				t.Errorf("a remedy: %+v", c)
			}
		}
		return by
	}
	found := look(l.Nodes[1], 0)
	for _, n := range l.Nodes {
		for _, what := range []string{"kernel", "address", "disk", "space", "certificate", "ways", "clock"} {
			if c := found[n.Name+"/"+what]; len(c) != 1 || c[0].State == api.CheckFail {
				t.Errorf("%s of %s: %+v", what, n.Name, c)
			}
		}
	}
	if c := found["/quorum"]; len(c) != 1 || c[0].State != api.CheckOK || c[0].Found != "3 of 3 voters up: 1 may fail" {
		t.Errorf("quorum: %+v", c)
	}
	gone := l.Nodes[2]
	gone.Terminate()
	found = look(l.Nodes[1], 1)
	for _, n := range l.Nodes[:2] {
		if c := found[n.Name+"/ways"]; len(c) != 2 || c[0].State != api.CheckFail || c[1].State != api.CheckFail {
			t.Errorf("ways of %s: %+v", n.Name, c)
		}
	}
	if c := found["/quorum"]; len(c) != 1 || c[0].State != api.CheckWarn || c[0].Found != "2 of 3 voters up: 0 may fail" {
		t.Errorf("quorum: %+v", c)
	}
	if c := found[gone.Name+"/answer"]; len(c) != 1 {
		t.Errorf("it is not said that %s is silent: %v", gone.Name, found)
	}
	// Before a join it is this machine that is looked at.
	if out, errs, code := gone.CLI("doctor", "127.0.0.1:1", "--data", gone.Dir, "--listen", "127.0.0.1:0"); code != 1 {
		t.Errorf("nobody is at that address: %d, %s%s", code, out, errs)
	}
}
