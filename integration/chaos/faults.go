package main

import (
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/lab"
)

// fault is one kind of trouble.
type fault struct {
	name, does  string
	alone       bool // all must be well before, and no other fault beside
	least, most time.Duration
	// begin says who is hit and returns what ends it; nil if there is nobody to
	// hit now.
	begin func(r *run, t *told) (end func())
}

// allFaults is the kit. Those that break one thing come first.
var allFaults = []*fault{
	{name: "kill-leader", does: "kill -9 of the leader's daemon", most: 5 * time.Second, begin: killed((*run).leader)},
	{name: "kill-follower", does: "kill -9 of a follower's daemon", most: 5 * time.Second, begin: killed((*run).follower)},
	{name: "kill-worker", does: "kill -9 of a worker's daemon", most: 5 * time.Second, begin: killed((*run).worker)},
	{name: "restart", does: "SIGTERM and a start, as in an upgrade", most: 2 * time.Second, begin: restarted},
	{name: "power-one", does: "the power of one node: daemon, keeper, tasks, and what its disk had not synced", most: 5 * time.Second, begin: powerOne},
	{name: "power-all", does: "the power of all nodes at once", alone: true, most: 2 * time.Second, begin: powerAll},
	{name: "freeze", does: "SIGSTOP and SIGCONT of a daemon", least: time.Second, most: 8 * time.Second, begin: frozen},
	{name: "cut", does: "a node is cut off from all others", least: time.Second, most: 10 * time.Second, begin: cutOff(true, true)},
	{name: "cut-in", does: "a node hears nobody, and is heard", least: time.Second, most: 10 * time.Second, begin: cutOff(false, true)},
	{name: "cut-out", does: "a node is heard by nobody, and hears", least: time.Second, most: 10 * time.Second, begin: cutOff(true, false)},
	{name: "cut-link", does: "one link, between a follower and the leader", least: time.Second, most: 10 * time.Second, begin: cutLink},
	{name: "split", does: "the leader and one more are cut off from the rest", least: 2 * time.Second, most: 10 * time.Second, begin: split},
	{name: "slow", does: "every link takes 50 ms more each way and loses 3 % of the packets", least: 3 * time.Second, most: 10 * time.Second, begin: slow},
	{name: "disk-full", does: "no block is free on a node's disk", least: 2 * time.Second, most: 8 * time.Second, begin: diskFull},
	{name: "disk-dead", does: "every access to a node's disk fails with EIO until it is started anew", least: 2 * time.Second, most: 8 * time.Second, begin: failing((*lab.Disk).Die)},
	{name: "disk-ro", does: "a node's disk is read-only, as after errors, until it is started anew", least: 2 * time.Second, most: 8 * time.Second, begin: failing((*lab.Disk).ReadOnly)},
	{name: "disk-hang", does: "whoever writes to a node's disk waits, and hears of no error", least: 2 * time.Second, most: 8 * time.Second, begin: diskHangs},
	{name: "flip", does: "one bit of a stopped voter's log", alone: true, begin: flipped},
	{name: "lost-log", does: "a voter's log is gone when only it and the leader had the newest entries", alone: true, most: 5 * time.Second, begin: lostLog},
	{name: "stale-copy", does: "a voter's log is an old copy when only it and the leader had the newest entries", alone: true, most: 5 * time.Second, begin: staleCopy},
	{name: "removed", does: "a worker is removed while it is cut off, reached again, and joins as a new node", alone: true, most: 5 * time.Second, begin: removed},
	{name: "clone", does: "a copy of a node's folder is started on another machine", alone: true, most: 3 * time.Second, begin: cloned},
	{name: "recover", does: "all voters but one are lost, the one is recovered, and the lost ones come back", alone: true, most: 5 * time.Second, begin: recovered},
	{name: "swap", does: "all stop; two come back with each other's address", alone: true, most: time.Second, begin: swapped},
}

func faultNamed(name string) *fault {
	for _, f := range allFaults {
		if f.name == name {
			return f
		}
	}
	return nil
}

// leader, follower and worker pick a node of that role with which nothing is
// wrong; nil if there is none.
func (r *run) leader() *lab.Node {
	if n := r.lab.LeaderNow(); n != nil && r.hurt[n] == 0 {
		return n
	}
	return nil
}

func (r *run) role(role string) *lab.Node {
	leader := r.lab.LeaderNow()
	if leader == nil {
		return nil
	}
	roles := map[string]string{}
	for _, m := range leader.Members() {
		roles[m.Name] = m.Role
	}
	return r.any(func(n *lab.Node) bool { return roles[n.Name] == role })
}

func (r *run) follower() *lab.Node { return r.role("voter") }
func (r *run) worker() *lab.Node   { return r.role("worker") }

// any picks among the nodes that fit.
func (r *run) any(fits func(*lab.Node) bool) *lab.Node {
	first := r.rng.IntN(len(r.nodes))
	for i := range r.nodes {
		if n := r.nodes[(first+i)%len(r.nodes)]; r.hurt[n] == 0 && fits(n) {
			return n
		}
	}
	return nil
}

func (r *run) someone() *lab.Node { return r.any(func(*lab.Node) bool { return true }) }

func killed(who func(*run) *lab.Node) func(*run, *told) func() {
	return func(r *run, t *told) func() {
		n := who(r)
		if n == nil || n.Ended() {
			return nil
		}
		t.say("%s", n.Name)
		over := r.hit(record.Away, n)
		n.Kill()
		return func() { n.Launch("start"); over() }
	}
}

func restarted(r *run, t *told) func() {
	n := r.someone()
	if n == nil || n.Ended() {
		return nil
	}
	t.say("%s", n.Name)
	over := r.hit(record.Away, n)
	n.Terminate()
	return func() { n.Launch("start"); over() }
}

func powerOne(r *run, t *told) func() {
	n := r.someone()
	if n == nil {
		return nil
	}
	t.say("%s", n.Name)
	over := r.hit(record.Silent, n)
	r.powerCut(n)
	return func() { n.Launch("start"); over() }
}

// powerCut is for a node that is noted to be silent.
func (r *run) powerCut(n *lab.Node) {
	r.must(r.disks[n].PowerCut())
	r.must(r.record.Gone(n.Name))
}

func powerAll(r *run, t *told) func() {
	t.say("all")
	over := r.hit(record.Silent, r.nodes...)
	for _, n := range r.nodes {
		n.PowerOff()
	}
	for _, n := range r.nodes {
		r.powerCut(n)
	}
	return func() {
		for _, n := range r.nodes {
			n.Launch("start")
		}
		over()
	}
}

func frozen(r *run, t *told) func() {
	n := r.someone()
	if n == nil || n.Ended() {
		return nil
	}
	t.say("%s", n.Name)
	over := r.hit(record.Away, n)
	r.must(n.Cmd.Process.Signal(syscall.SIGSTOP))
	return func() { _ = n.Cmd.Process.Signal(syscall.SIGCONT); over() } // another fault may have ended it
}

func cutOff(out, in bool) func(*run, *told) func() {
	return func(r *run, t *told) func() {
		n := r.someone()
		if n == nil {
			return nil
		}
		t.say("%s", n.Name)
		set := func(trouble lab.Trouble) {
			for _, m := range r.nodes {
				if m != n && out {
					r.lab.Wire.Set(n, m, trouble)
				}
				if m != n && in {
					r.lab.Wire.Set(m, n, trouble)
				}
			}
		}
		over := r.hit(record.Silent, n)
		set(lab.Trouble{Cut: true})
		return func() { set(lab.Trouble{}); over() }
	}
}

// cutLink leaves either end silent to the other: the lead may move to any.
func cutLink(r *run, t *told) func() {
	a, b := r.leader(), r.follower()
	if a == nil || b == nil || a == b { // it may have changed in between
		return nil
	}
	t.say("%s - %s", a.Name, b.Name)
	over := r.hit(record.Silent, a, b)
	r.lab.Wire.Between(a, b, lab.Trouble{Cut: true})
	return func() { r.lab.Wire.Between(a, b, lab.Trouble{}); over() }
}

// split leaves each side silent to the other: either may have the quorum.
func split(r *run, t *told) func() {
	a := r.leader()
	b := r.any(func(n *lab.Node) bool { return n != a })
	if a == nil || b == nil {
		return nil
	}
	t.say("%s and %s", a.Name, b.Name)
	set := func(trouble lab.Trouble) {
		for _, m := range r.nodes {
			if m != a && m != b {
				r.lab.Wire.Between(a, m, trouble)
				r.lab.Wire.Between(b, m, trouble)
			}
		}
	}
	over := r.hit(record.Silent, r.nodes...)
	set(lab.Trouble{Cut: true})
	return func() { set(lab.Trouble{}); over() }
}

func slow(r *run, t *told) func() {
	t.say("all")
	set := func(trouble lab.Trouble) {
		for _, n := range r.nodes {
			r.lab.Wire.Around(n, trouble)
		}
	}
	set(lab.Trouble{Delay: 50 * time.Millisecond, Loss: 0.03})
	return func() { set(lab.Trouble{}) }
}

func swapped(r *run, t *told) func() {
	a := r.someone()
	b := r.any(func(n *lab.Node) bool { return n != a })
	t.say("%s and %s", a.Name, b.Name)
	over := r.hit(record.Away, r.nodes...)
	for _, n := range r.nodes {
		n.Terminate()
	}
	ipA, ipB := a.IP, b.IP
	a.Move(ipB)
	b.Move(ipA)
	return func() {
		for _, n := range r.nodes {
			n.Launch("start")
		}
		over()
	}
}

// wanted is a service's number of tasks as it is now.
func wanted(j *api.Job) int {
	if j.Spec.Count == nil {
		return 1
	}
	return *j.Spec.Count
}
