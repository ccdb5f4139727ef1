package main

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/lab"
)

// followers picks so many voters that follow that leader; nil if there are not as
// many.
func (r *run) followers(leader *lab.Node, count int) []*lab.Node {
	if leader == nil {
		return nil
	}
	voter := map[string]bool{}
	for _, m := range leader.Members() {
		voter[m.Name] = strings.HasPrefix(m.Role, "voter")
	}
	var out []*lab.Node
	for len(out) < count {
		n := r.any(func(n *lab.Node) bool { return n != leader && voter[n.Name] && !slices.Contains(out, n) })
		if n == nil {
			return nil
		}
		out = append(out, n)
	}
	return out
}

// others are the nodes that are none of those.
func (r *run) others(not ...*lab.Node) []*lab.Node {
	var out []*lab.Node
	for _, n := range r.nodes {
		if !slices.Contains(not, n) {
			out = append(out, n)
		}
	}
	return out
}

func names(nodes []*lab.Node) string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.Name)
	}
	return strings.Join(out, " and ")
}

// removed is a node that is removed while it is cut off: reached again it learns
// that, and ends what it runs. Then it joins as a new one.
func removed(r *run, t *told) func() {
	n := r.worker()
	if n == nil {
		return nil
	}
	other := r.others(n)[0]
	t.say("%s", n.Name)
	over := r.hit(record.Silent, n)
	r.lab.Wire.Around(n, lab.Trouble{Cut: true})
	r.lab.Await(wellWithin, n.Name+" to be removed", func() bool {
		_, _, code := other.CLI("node", "rm", "--force", n.Name)
		return code == 0
	})
	return func() {
		r.lab.Wire.Around(n, lab.Trouble{})
		r.lab.Await(wellWithin, n.Name+" to end its tasks", func() bool {
			var h api.Health
			return n.Call("GET", "/v1/health", nil, &h) != nil && len(r.runningOn(n.Name)) == 0
		})
		r.joinAnew(n)
		over()
	}
}

// joinAnew makes a new node of a machine.
func (r *run) joinAnew(n *lab.Node) {
	n.PowerOff()
	r.must(r.record.Gone(n.Name))
	r.must(r.disks[n].Renew())
	other := r.others(n)[0]
	secret := ""
	r.lab.Await(wellWithin, "a join token", func() bool {
		var g struct{ Secret string }
		err := other.Call("POST", "/v1/tokens", api.TokenRequest{Kind: api.TokenJoin, Voter: true}, &g)
		secret = g.Secret
		return err == nil
	})
	n.Launch("join", other.IP, "--token", secret)
	n.AwaitReady()
}

// cloned starts a copy of a node's folder on another machine while the node
// runs: every task runs once all the same.
func cloned(r *run, t *told) func() {
	n := r.someone()
	if n == nil || n.Ended() {
		return nil
	}
	t.say("%s", n.Name)
	c := r.lab.AddNode(len(r.lab.Nodes) + 1)
	r.must(lab.CopyLive(n.Dir, c.Dir))
	c.Name = n.Name
	c.Launch("start")
	return func() {
		lab.Until(10*time.Second, c.Ended) // it says why, or it is told nothing yet
		if got := len(r.runningOn(n.Name)); c.Ended() {
			r.stage.Say("clone", "of %s has ended: %s", n.Name, lastLog(c))
		} else if got > 0 {
			r.stage.Say("clone", "of %s has not ended", n.Name)
		}
		c.PowerOff()
		for _, left := range c.Left() {
			r.stage.Logf("of the clone: %s", left)
		}
	}
}

// recovered loses all voters but one, makes that the only one, and has the
// others come back: what was acknowledged since stays, and they are taken in
// again when they are told to.
func recovered(r *run, t *told) func() {
	leader := r.leader()
	all := r.followers(leader, r.o.voters-1)
	if all == nil {
		return nil
	}
	left, lost := all[0], append(all[1:], leader)
	t.say("%s is left of %s", left.Name, names(append(lost, left)))
	r.sameIndex() // or what only the lost ones had would rightly be lost
	r.crowd.Halt()
	r.sameIndex()
	over := r.hit(record.Silent, lost...)
	for _, n := range lost {
		r.powerCut(n)
	}
	back := r.hit(record.Away, r.others(lost...)...) // to look at them all once it is over
	left.Terminate()
	r.recover(left)
	left.Start()
	r.acknowledge(left, 10)
	r.must(r.record.Parted()) // the lost ones have a quorum of their own, for whoever lets them
	for _, n := range lost {
		n.Launch("start")
	}
	return func() {
		r.acknowledge(left, 10)
		for _, n := range lost {
			if !n.Ended() {
				n.Terminate()
			}
			n.Launch("start", "--rejoin")
		}
		back()
		over()
		r.well()
		r.recovering.Wait() // what the lost ones ran of their own has ended
		r.must(r.record.Whole())
		r.crowd.Work(r.ctx)
	}
}

// recover makes a stopped node the only voter.
func (r *run) recover(n *lab.Node) {
	var self struct{ Cluster string }
	r.must(readJSON(filepath.Join(n.Dir, "node.json"), &self))
	if _, errs, code := n.CLI("cluster", "recover", self.Cluster, "--data", n.Dir, "--listen", n.IP+":5050"); code != 0 {
		r.stage.Fatalf("recover %s: %s", n.Name, errs)
	}
}
