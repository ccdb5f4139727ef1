package main

import (
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/lab"
)

// pins are the commits from which upgrades have to work, and back to which until
// the level of the cluster was raised: the last before there were levels, and the
// last of levels 1, 3, 4, 5, 6, 7, 8, 9, 10 and 11.
var pins = []string{"64a1907", "1abf776", "a0d3447", "219a8da", "bc89408", "4c64f63", "4c5b681", "9f35063", "7a1eab3", "c7e22ca", "7b30b2f9"}

// upgrade takes a cluster of the old program, node by node, to the new one, back,
// and to the new one again, while clients work. A node of each program joins a
// cluster that the other leads, and is sent its snapshot. Once the level was
// raised, the old program is refused in words.
func (r *run) upgrade(older, newer string) {
	level := r.level(older)
	if level == 0 {
		r.mute = older
	}
	r.roll("up", newer, func(after int) {
		if after == 1 {
			r.join("a node of the new program is sent a snapshot of the old", newer, older)
		}
	})
	r.remove(r.nodes[len(r.nodes)-1])
	r.well()
	r.join("a node of the old program is sent a snapshot of the new", older, newer)
	r.roll("back", older, nil)
	r.roll("up again", newer, nil)
	if got := r.level(newer); got != level {
		r.stage.Errorf("the cluster is at level %d before anybody raised it, and began at %d", got, level)
	}
	if int(fsm.Newest) > level {
		r.raise()
		r.refused(older)
	}
}

// level asks a node of that program; the oldest know no levels.
func (r *run) level(bin string) int {
	n := r.nodes[slices.IndexFunc(r.nodes, func(n *lab.Node) bool { return n.Bin == bin })]
	var s struct{ Level int }
	if err := n.Do(http.MethodGet, "/v1/level", nil, &s); err != nil && api.ErrorCode(err) != api.CodeNotFound {
		r.stage.Errorf("%s does not say what the level is: %v", n.Name, err)
	}
	return s.Level
}

func (r *run) raise() {
	n := r.nodes[0]
	r.lab.Await(wellWithin, "the level to be raised", func() bool { // gossip may not know yet what the last node knows
		_, _, code := n.CLI("cluster", "level", "--raise")
		return code == 0
	})
	r.stage.Say("level", "%d", r.level(n.Bin))
	r.leveled = true
	r.well()
}

// refused has the old program start in a voter's folder, and join: it says what to
// do, and ends.
func (r *run) refused(older string) {
	n := r.voterThatFollows(nil)
	over := r.hit(r.restarted(n), n)
	n.Terminate()
	newer := n.Bin
	n.Bin = older
	r.mustEnd(n, "start")
	n.Bin = newer
	n.Launch("start")
	over()
	r.well()
	late := r.add(older)
	r.mustEnd(late, "join", n.IP, "--token", n.Token(api.TokenRequest{Kind: api.TokenJoin, Voter: true}))
	late.Bin = newer
	late.Launch("join", n.IP, "--token", n.Token(api.TokenRequest{Kind: api.TokenJoin, Voter: true}))
	late.AwaitReady()
	r.nodes = append(r.nodes, late)
	r.remove(r.voterThatFollows(n))
	r.lab.Await(wellWithin, late.Name+" to vote with the new program", func() bool { return r.votes(n, late) })
}

// voterThatFollows waits for a voter but for that one that follows another.
func (r *run) voterThatFollows(not *lab.Node) (n *lab.Node) {
	r.lab.Await(wellWithin, "a follower", func() bool {
		both := r.followers(r.leader(), 2)
		if both != nil && both[0] == not {
			both = both[1:]
		}
		if both != nil {
			n = both[0]
		}
		return n != nil
	})
	return n
}

// mustEnd starts a program that has to end by itself, and to say why.
func (r *run) mustEnd(n *lab.Node, verb string, args ...string) {
	from := logSize(n)
	n.Launch(verb, args...)
	if !lab.Until(wellWithin, n.Ended) {
		r.stage.Errorf("%s %s of the old program continues above its level: %s", n.Name, verb, logFrom(n, from))
		n.Kill()
		return
	}
	words := logFrom(n, from)
	if !strings.Contains(words, "upgrade mesita") {
		r.stage.Errorf("%s %s of the old program ended, and says nothing of an upgrade: %s", n.Name, verb, words)
	}
	r.stage.Say("late", "%s %s: %s", n.Name, verb, lastLog(n))
}

// roll gives each node another program, one after the other.
func (r *run) roll(what, bin string, between func(after int)) {
	for i, n := range r.rolling() {
		if n.Bin == bin {
			continue
		}
		r.stage.Say(what, "%s", n.Name)
		r.change(n, bin)
		if between != nil {
			between(i + 1)
		}
	}
}

func (r *run) change(n *lab.Node, bin string) {
	over := r.hit(r.restarted(n), n)
	n.Terminate()
	n.Bin = bin
	n.Launch("start")
	over()
	r.well()
}

// restarted is what the restart of a node's daemon is to the tasks there. At level
// 0 no keeper is asked meanwhile; above it one that the program of level 0 started
// answers nothing for as long as a task of its own runs, however new the daemon is.
func (r *run) restarted(n *lab.Node) record.Trouble {
	if r.mute != "" && (!r.leveled || len(n.KeepersOf(r.mute)) > 0) {
		return record.Silent
	}
	return record.Away
}

// rolling is the nodes in the order in which they are upgraded: the leader last.
func (r *run) rolling() []*lab.Node {
	leader := r.lab.LeaderNow()
	return slices.SortedStableFunc(slices.Values(r.nodes), func(a, b *lab.Node) int {
		switch {
		case a == b || a != leader && b != leader:
			return 0
		case a == leader:
			return 1
		}
		return -1
	})
}

// add makes one more machine with a disk.
func (r *run) add(bin string) *lab.Node {
	n := r.lab.AddNode(len(r.lab.Nodes) + 1)
	n.Bin = bin
	d, err := lab.NewDisk(n, r.images)
	r.must(err)
	r.disks[n] = d
	return n
}

// join has a node of one program become a voter, for which a leader of the
// other sends its snapshot, as its log does not begin with the first entry. If the
// lead moves meanwhile another node does.
func (r *run) join(what, bin, leads string) {
	for range 5 {
		if r.joined(what, bin, leads) {
			return
		}
		r.stage.Say("again", "the lead has moved meanwhile")
		r.remove(r.nodes[len(r.nodes)-1])
		r.well()
	}
	r.stage.Errorf("%s: the lead moves each time", what)
}

// joined reports whether nodes of one program led while one of the other joined.
func (r *run) joined(what, bin, leads string) bool {
	r.lead(leads)
	n := r.add(bin)
	r.stage.Say("join", "%s: %s", n.Name, what)
	knows := r.level(leads) >= int(fsm.VoterTokens.Level()) // the oldest refuse the word, and let all vote
	n.Launch("join", r.nodes[0].IP, "--token", r.nodes[0].Token(api.TokenRequest{Kind: api.TokenJoin, Voter: knows}), "--log-level", "debug")
	n.AwaitReady()
	r.nodes = append(r.nodes, n)
	r.well()
	r.lab.Await(wellWithin, n.Name+" to vote", func() bool { return r.votes(r.nodes[0], n) })
	if leader := r.lab.LeaderNow(); leader == nil || leader.Bin != leads {
		return false
	}
	if !strings.Contains(logFrom(n, 0), "Installed remote snapshot") {
		r.stage.Errorf("%s votes, and was sent no snapshot", n.Name)
	}
	r.change(n, bin) // debug no longer
	return true
}

// votes asks one node whether another votes.
func (r *run) votes(asked, n *lab.Node) bool {
	return slices.ContainsFunc(asked.Members(), func(m api.NodeStatus) bool { return m.Name == n.Name && strings.HasPrefix(m.Role, "voter") })
}

// lead has a node of that program lead.
func (r *run) lead(bin string) {
	r.lab.Await(wellWithin, "a node of the other program to lead", func() bool {
		leader := r.lab.LeaderNow()
		if leader != nil && leader.Bin != bin {
			r.change(leader, leader.Bin)
		}
		return leader != nil && leader.Bin == bin
	})
}

// remove takes a node out of the cluster for good.
func (r *run) remove(n *lab.Node) {
	r.stage.Say("remove", "%s", n.Name)
	r.hit(record.Silent, n)
	r.nodes = slices.DeleteFunc(slices.Clone(r.nodes), func(m *lab.Node) bool { return m == n })
	n.PowerOff()
	r.must(r.record.Gone(n.Name))
	r.lab.Await(wellWithin, n.Name+" to be removed", func() bool {
		_, _, code := r.nodes[0].CLI("node", "rm", "--force", n.Name)
		return code == 0
	})
}

func logSize(n *lab.Node) int64 {
	info, err := os.Stat(n.Dir + ".log")
	if err != nil {
		return 0
	}
	return info.Size()
}

func logFrom(n *lab.Node, size int64) string {
	log, err := os.ReadFile(n.Dir + ".log")
	if err != nil {
		return err.Error()
	}
	return string(log[size:])
}

// shorten makes the log of the first node begin with a snapshot, as it does after
// a recovery: whoever joins is sent one.
func (r *run) shorten() {
	n := r.nodes[0]
	n.Start()
	n.Terminate()
	r.recover(n)
}
