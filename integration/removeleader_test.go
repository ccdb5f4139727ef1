package integration

import (
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// Whoever leads is removed as any other node is, whether another node is asked or it
// is itself: it has handed the lead over, and stays removed. The dry run says the same.
func TestALeaderIsRemoved(t *testing.T) {
	l := newLab(t, 4)
	l.Form()
	for range 2 {
		old := l.Leader()
		rest := l.Nodes[:0:0]
		for _, n := range l.Nodes {
			if n != old {
				rest = append(rest, n)
			}
		}
		asked := old
		if len(rest) == 3 {
			asked = rest[0]
		}
		for _, args := range [][]string{{"node", "drain", old.Name}, {"node", "rm", "--dry-run", old.Name}, {"node", "rm", old.Name}} {
			if out, errs, code := asked.CLI(args...); code != 0 {
				t.Fatalf("%v on %s: exit code %d: %s%s", args, asked.Name, code, out, errs)
			}
		}
		l.Nodes = rest
		l.Await(lab.Patience, "another to lead without it", func() bool {
			n := l.LeaderNow()
			if n == nil {
				return false
			}
			for _, m := range n.Members() {
				if m.Name == old.Name && m.State != api.NodeGone {
					return false
				}
			}
			return true
		})
	}
}
