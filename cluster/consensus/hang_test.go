package consensus

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
)

// A leader whose disk hangs has another lead, though its heartbeats need no disk;
// once the disk answers it follows, and nothing is lost that was acknowledged.
func TestAHungDiskDoesNotLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disks [3]*flakyLogs
		c := newMemCluster(t, 3, func(i int, cfg *Config) { disks[i] = flaky(cfg) })
		old := c.leader()
		disks[old].delay.Store(int64(10 * time.Minute))
		began := time.Now()
		if _, err := c.nodes[old].Propose(t.Context(), cmds("hung", 1)); api.ErrorCode(err) != api.CodeUnknown || time.Since(began) > 2*hangAfter {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if _, err := c.nodes[old].Propose(t.Context(), cmds("later", 1)); !errors.Is(err, ErrNotLeader) {
			t.Error(err)
		}
		c.settle(hangAfter)
		next := c.leader(old)
		c.nodes[next].must(t, createJob("on"))
		if c.nodes[old].Healthy() == nil {
			t.Error("a node whose disk hangs says that it is well")
		}
		select {
		case <-c.nodes[old].Unwell():
		default:
			t.Error("who waits for the node to be unwell does not hear of it")
		}
		c.settle(2 * time.Minute)
		if c.nodes[old].IsLeader() || !c.nodes[next].IsLeader() {
			t.Error("a node whose disk hangs leads again")
		}
		disks[old].delay.Store(0)
		c.settle(20 * time.Minute)
		c.nodes[c.leader()].must(t, createJob("after"))
		c.settle(time.Second)
		if err := c.nodes[old].Healthy(); err != nil {
			t.Error(err)
		}
		for i, n := range c.nodes {
			if n.store.View().Job("on") == nil || n.store.View().Job("after") == nil || !bytes.Equal(n.bytes(t), c.nodes[next].bytes(t)) {
				t.Errorf("n%d has another state than the rest", i)
			}
		}
	})
}

// A disk that is always slow does not hang: the lead stays where it is.
func TestASlowDiskLeadsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disks [3]*flakyLogs
		c := newMemCluster(t, 3, func(i int, cfg *Config) { disks[i] = flaky(cfg) })
		l := c.leader()
		term := c.nodes[l].Stats().Term
		for _, slow := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			for _, d := range disks {
				d.delay.Store(int64(slow))
			}
			for range 4 {
				if _, err := c.nodes[l].Propose(t.Context(), cmds(slow.String(), 1)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if c.leader() != l || c.nodes[l].Stats().Term != term || c.nodes[l].Healthy() != nil {
			t.Error("the lead was given up over a disk that is slow")
		}
	})
}
