package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mesita/mesita/integration/lab"
)

// All nodes have other addresses than they remember: each says what to do, and
// the address of one, given to the others, is enough.
func TestAllAddressesChange(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	l.Leader().Submit(sleeper("work", 1))
	for _, n := range l.Nodes {
		n.Terminate()
	}
	for i, n := range l.Nodes {
		n.Move(fmt.Sprintf("10.77.0.%d", 91+i))
		n.Launch("start")
	}
	for _, n := range l.Nodes {
		l.Await(lab.Patience, n.Name+" to say what to do", func() bool {
			log, err := os.ReadFile(n.Dir + ".log")
			return err == nil && strings.Contains(string(log), "start it with --seed ADDRESS of one that runs")
		})
	}
	for _, n := range l.Nodes[1:] {
		n.Terminate()
		n.Launch("start", "--seed", "10.77.0.91")
	}
	for _, n := range l.Nodes {
		n.AwaitReady()
	}
	settled(l, l.Leader(), "work", 1)
	if got := len(l.Leader().Members()); got != 3 {
		t.Errorf("there are %d nodes, want 3", got)
	}
}
