package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/fsm"
)

// someNodes makes nodes a, b, c, … of which those in down do not answer.
func someNodes(n int, down string, since time.Time) (nodes []*api.Node, alive func(string) bool) {
	for i := range n {
		id := string(rune('a' + i))
		node := &api.Node{ID: id, Name: id, Addr: id + ":1", State: api.NodeReady, Joined: time.Unix(int64(i), 0)}
		if strings.Contains(down, id) {
			node.State, node.Since = api.NodeUnreachable, since
		}
		nodes = append(nodes, node)
	}
	return nodes, func(id string) bool { return !strings.Contains(down, id) }
}

// nextOf is the next change at a, of members that vote, or are in capitals.
func nextOf(nodes []*api.Node, members string, alive, able func(string) bool, now time.Time) voterChange {
	return electorateOf(nodes, members, alive, able, now).next()
}

func electorateOf(nodes []*api.Node, members string, alive, able func(string) bool, now time.Time) electorate {
	e := electorate{nodes: nodes, self: "a", alive: alive, able: able, now: now}
	for _, id := range strings.Split(members, "") {
		e.members = append(e.members, consensus.Server{ID: strings.ToLower(id), Voter: id == strings.ToLower(id)})
	}
	return e
}

func TestNextVoterChange(t *testing.T) {
	now := time.Unix(1000, 0)
	long := now.Add(-time.Minute)
	for _, c := range []struct {
		name, voters, down string
		nodes              int
		gone               string
		want               string
	}{
		{"one node", "a", "", 1, "", ""},
		{"the second votes", "a", "", 2, "", "+b"},
		{"the third votes", "ab", "", 3, "", "+c"},
		{"the fourth does not", "abc", "", 4, "", ""},
		{"five nodes, five voters", "abc", "", 5, "", "+d"},
		{"a lost voter is replaced: first the new one", "abc", "b", 4, "", "+d"},
		{"then the lost one goes", "abcd", "b", 4, "", "-b"},
		{"nobody to replace it", "abc", "b", 3, "", ""},
		{"half of four is silent: three can do without one", "abcd", "bc", 4, "", "-c"},
		{"most are silent: nothing is removed", "abcd", "bcd", 4, "", ""},
		{"a removed node does not vote", "abc", "", 3, "b", "-b"},
		{"four voters are one too many", "abcd", "", 4, "", "-d"},
		{"not enough left to remove one", "abc", "bc", 3, "b", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			nodes, alive := someNodes(c.nodes, c.down, long)
			for _, n := range nodes {
				if c.gone != "" && strings.Contains(c.gone, n.ID) {
					n.State = api.NodeGone
				}
			}
			got := nextOf(nodes, c.voters, alive, alive, now)
			text := ""
			if got.add != "" {
				text = "+" + got.add
			} else if got.remove != "" {
				text = "-" + got.remove
			}
			if text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

func TestAVoterIsNotReplacedAtOnce(t *testing.T) {
	now := time.Unix(1000, 0)
	nodes, alive := someNodes(4, "b", now.Add(-time.Second))
	if got := nextOf(nodes, "abc", alive, alive, now); got.add != "" || got.retry <= 0 {
		t.Errorf("got %+v, want to wait", got)
	}
}

func TestVoterOnlyNodesVoteFirst(t *testing.T) {
	nodes, alive := someNodes(4, "", time.Time{})
	nodes[3].VoterOnly = true
	if got := nextOf(nodes, "ab", alive, alive, time.Unix(1000, 0)); got.add != "d" {
		t.Errorf("got %+v, want d to be added", got)
	}
}

// Nodes whose token is for workers are neither made voters nor counted as if they
// could be, whoever is lost.
func TestWorkersByTokenNeverVote(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct{ down, workers, want string }{
		{"", "b", "c"}, {"", "bcdef", ""}, {"", "bcd", "e"}, {"", "", "b"},
	} {
		nodes, alive := someNodes(6, c.down, now.Add(-time.Hour))
		for _, n := range nodes {
			n.WorkerOnly = strings.Contains(c.workers, n.ID)
		}
		if got := nextOf(nodes, "a", alive, alive, now); got.add != c.want || got.remove != "" {
			t.Errorf("workers %q: got %+v, want %q to be added", c.workers, got, c.want)
		}
	}
	nodes, alive := someNodes(6, "", time.Time{})
	nodes[3].WorkerOnly, nodes[4].WorkerOnly = true, true // four may vote: three do
	if got := nextOf(nodes, "abf", alive, alive, now); got != (voterChange{}) {
		t.Errorf("with four that may vote: %+v", got)
	}
	nodes, alive = someNodes(6, "c", now.Add(-time.Hour))
	nodes[3].WorkerOnly, nodes[4].WorkerOnly, nodes[5].WorkerOnly = true, true, true
	if got := nextOf(nodes, "abc", alive, alive, now); got.add != "" {
		t.Errorf("a worker takes the place of a lost voter: %+v", got)
	}
}

// Who is demoted is taken out of Raft, after another votes in its place if one may,
// while the others are a majority; if it leads, another is to lead first.
func TestTheDemotedVoteNoMore(t *testing.T) {
	for _, c := range []struct {
		nodes                int
		voters, demoted, off string
		want                 voterChange
	}{
		{3, "abc", "c", "", voterChange{remove: "c"}},
		{4, "abc", "c", "", voterChange{add: "d", addr: "d:1"}},
		{4, "abcd", "c", "", voterChange{remove: "c"}},
		{3, "abc", "a", "", voterChange{yield: true, retry: yieldPause}},
		{3, "abc", "c", "b", voterChange{}},
		{2, "ab", "b", "", voterChange{remove: "b"}},
		{3, "ab", "c", "", voterChange{}},
	} {
		nodes, alive := someNodes(c.nodes, c.off, time.Unix(0, 0))
		for _, n := range nodes {
			n.WorkerOnly = n.ID == c.demoted
		}
		if got := nextOf(nodes, c.voters, alive, alive, time.Unix(1000, 0)); got != c.want {
			t.Errorf("%+v: got %+v", c, got)
		}
	}
}

// Who gets the log without a vote, as the log was not there in time, is made a voter
// while one is wanted, and else is taken out of Raft, also while voters are silent: no
// key of the CA is made while it is there.
func TestWhoDoesNotVoteGetsNoLog(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name, members string
		nodes         int
		workers, gone string
		down          string
		since         time.Duration
		old           string
		remove, add   string
		retry         time.Duration
	}{
		{name: "on the way to a vote", members: "abC", nodes: 3, add: "c"},
		{name: "demoted", members: "abcD", nodes: 4, workers: "d", remove: "d"},
		{name: "demoted while a vote is free", members: "abD", nodes: 4, workers: "d", remove: "d"},
		{name: "demoted, and a voter is silent", members: "abD", nodes: 4, workers: "d", down: "b", since: time.Hour, remove: "d"},
		{name: "removed", members: "abcD", nodes: 4, gone: "d", remove: "d"},
		{name: "never heard of", members: "abcZ", nodes: 3, remove: "z"},
		{name: "another has the vote by now", members: "abcD", nodes: 4, remove: "d"},
		{name: "to take the place of one that is lost", members: "abcD", nodes: 4, down: "b", since: time.Hour, add: "d"},
		{name: "silent since now", members: "abC", nodes: 3, down: "c", since: time.Second, retry: voterPatience - time.Second},
		{name: "silent for long", members: "abC", nodes: 3, down: "c", since: time.Hour, remove: "c"},
		{name: "a program that cannot read the log", members: "abC", nodes: 3, old: "c", remove: "c"},
	} {
		nodes, alive := someNodes(c.nodes, c.down, now.Add(-c.since))
		for _, n := range nodes {
			n.WorkerOnly = n.ID == c.workers
			if n.ID == c.gone {
				n.State = api.NodeGone
			}
		}
		able := func(id string) bool { return id != c.old }
		if got := nextOf(nodes, c.members, alive, able, now); got.remove != c.remove || got.add != c.add || got.retry != c.retry {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// voterRaft is Raft in which some nodes cannot be made voters: they get the log and no
// more, and the try takes until it is over.
type voterRaft struct {
	members []consensus.Server
	broken  string
}

func (r *voterRaft) Members() ([]consensus.Server, error) { return slices.Clone(r.members), nil }

func (r *voterRaft) AddVoter(ctx context.Context, id, _ string) error {
	r.members = slices.DeleteFunc(r.members, func(s consensus.Server) bool { return s.ID == id })
	works := !strings.Contains(r.broken, id)
	r.members = append(r.members, consensus.Server{ID: id, Voter: works})
	if works {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (r *voterRaft) Remove(_ context.Context, id string) error {
	r.members = slices.DeleteFunc(r.members, func(s consensus.Server) bool { return s.ID == id })
	return nil
}

func (r *voterRaft) TransferLeadership(context.Context) error { return nil }

// A node that is demoted or removed while it is made a voter gets the log no longer than
// until that is known, and may be made one at once when it may vote again.
func TestWhoIsDemotedMeanwhileGetsNoLog(t *testing.T) {
	for name, c := range map[string]fsm.Command{"demoted": &fsm.NodeDemote{ID: "c"}, "removed": &fsm.NodeRemove{ID: "c", Force: true}} {
		synctest.Test(t, func(t *testing.T) {
			w := newCAWorld(t, fsm.Newest, "a", "b", "c")
			r := &voterRaft{broken: "c", members: []consensus.Server{{ID: "a", Voter: true}, {ID: "b", Voter: true}}}
			all := func(string) bool { return true }
			l := &voterLoop{self: "a", store: w.store, raft: r, alive: all, able: all, now: time.Now, log: slog.New(slog.DiscardHandler)}
			began := time.Now()
			done := make(chan struct{})
			go func() {
				defer close(done)
				l.step(t.Context())
				l.step(t.Context())
			}()
			synctest.Wait()
			if len(r.members) != 3 {
				t.Fatalf("%s: nothing is tried: %+v", name, r.members)
			}
			w.do(c)
			<-done
			if took := time.Since(began); took > 0 || len(r.members) != 2 || len(l.failing) > 0 { // by fake time
				t.Errorf("%s: after %v: %+v, %v", name, took, r.members, l.failing)
			}
		})
	}
}

// A node that cannot be made a voter keeps nobody else from becoming one, nor one that
// may vote no more in Raft; once it can be, it is made one.
func TestWhoCannotBeAddedKeepsNobody(t *testing.T) {
	for _, c := range []struct {
		nodes, broken, demoted string
		voters                 string
		then                   int
	}{
		{"abcd", "d", "c", "ab", 3}, {"abcde", "d", "c", "abe", 3}, {"abcde", "de", "c", "ab", 3}, {"abcde", "d", "", "abce", 5},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newCAWorld(t, fsm.Newest, strings.Split(c.nodes, "")...)
			r := &voterRaft{broken: c.broken}
			for _, id := range []string{"a", "b", "c"} {
				r.members = append(r.members, consensus.Server{ID: id, Voter: true})
			}
			if c.demoted != "" {
				w.do(&fsm.NodeDemote{ID: c.demoted})
			}
			all := func(string) bool { return true }
			l := &voterLoop{self: "a", store: w.store, raft: r, alive: all, able: all, now: time.Now, log: slog.New(slog.DiscardHandler)}
			settle := func() []string {
				for range 30 {
					time.Sleep(min(l.step(t.Context()), time.Minute))
				}
				if slices.ContainsFunc(r.members, func(s consensus.Server) bool { return s.ID == c.demoted }) {
					t.Errorf("%+v: the demoted one gets the log: %+v", c, r.members)
				}
				return slices.Sorted(slices.Values(votersOf(r.members)))
			}
			if got := strings.Join(settle(), ""); got != c.voters {
				t.Errorf("%+v: %s vote", c, got)
			}
			r.broken = ""
			if got := settle(); len(got) != c.then {
				t.Errorf("%+v: %v vote once all can", c, got)
			}
		})
	}
}

// A node that is removed is taken out of Raft, whether it votes or only gets the log.
func TestARemovedNodeGetsNoLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := alone(t, 4)
		if err := a.raft.Bootstrap("10.0.0.1:5050"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := a.raft.AddNonvoter(t.Context(), "d", "10.0.0.4:5050"); err != nil {
			t.Fatal(err)
		}
		v := fsm.NewStore(nil)
		for _, c := range []fsm.Command{&fsm.ClusterInit{Level: fsm.Newest, Cluster: &api.Cluster{ID: "c1"}, Authority: &api.Authority{}, Node: &api.Node{ID: "me", Name: "oak"}},
			&fsm.TokenCreate{Token: &api.Token{ID: "t", Kind: api.TokenJoin, Hash: "h"}}, &fsm.NodeJoin{Token: "t", Hash: "h", NodeID: "d", Name: "d"}} {
			if _, err := v.Do(t.Context(), c); err != nil {
				t.Fatalf("%T: %v", c, err)
			}
		}
		a.store = v // whose writes take no Raft
		if err := (members{a}).RemoveNode(t.Context(), v.View().Node("d"), false, "admin"); err != nil {
			t.Fatal(err)
		}
		if a.inRaft("d") || !a.inRaft("me") || v.View().Node("d").State != api.NodeGone {
			t.Error("it gets the log still")
		}
	})
}

func TestTheLastVotersStay(t *testing.T) {
	for _, c := range []struct {
		voters, down, remove string
		ok                   bool
	}{
		{"a", "", "a", false}, {"ab", "", "b", true}, {"abc", "", "c", true}, {"abc", "b", "c", false}, {"abc", "b", "b", true}, {"abc", "", "d", true},
	} {
		nodes, alive := someNodes(4, c.down, time.Time{})
		var target *api.Node
		for _, n := range nodes {
			if n.ID == c.remove {
				target = n
			}
		}
		err := mayRemoveNode(target, nodes, strings.Split(c.voters, ""), alive)
		if (err == nil) != c.ok || err != nil && api.ErrorCode(err) != api.CodeConflict {
			t.Errorf("%s", fmt.Sprintf("voters %s, silent %q, remove %s: got %v", c.voters, c.down, c.remove, err))
		}
	}
}
