package cluster

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/fsm"
)

// A cluster has three voters, and five once it has five nodes that may vote: more would make
// each write slower and no failure more survivable that matters at this size.
const (
	fewVoters  = api.FewVoters
	manyVoters = 5
)

// voterPatience is how long a voter may be unreachable before another node
// takes its place.
const voterPatience = 10 * time.Second

// yieldPause is between two tries of a leader that is to vote no more to have another
// lead.
const yieldPause = 2 * time.Second

// voterChange is one step towards the voters that should be; at most one is
// taken at a time.
type voterChange struct {
	add, remove string // node ids; one of the two is set
	yield       bool   // this node is to vote no more: another is to lead
	addr        string
	retry       time.Duration // ask again then, when there is nothing to do yet
}

// nextVoterChange decides the next step. A voter is removed only when the
// voters that answer stay a majority of those that are left, and not before a
// replacement votes, unless there are too many.
func nextVoterChange(nodes []*api.Node, voters []string, self string, alive, able func(id string) bool, now time.Time) voterChange {
	byID := map[string]*api.Node{}
	usable := 0
	for _, n := range nodes {
		byID[n.ID] = n
		if n.State != api.NodeGone && !n.WorkerOnly {
			usable++
		}
	}
	want := fewVoters
	if usable >= manyVoters {
		want = manyVoters
	}
	answering, stay := 0, len(voters)
	var gone, demoted, lost string
	var retry time.Duration
	for _, id := range voters {
		n := byID[id]
		switch {
		case n == nil || n.State == api.NodeGone:
			gone = id
		case n.WorkerOnly:
			demoted, stay = id, stay-1
		case alive(id):
			answering++
		case n.State == api.NodeUnreachable || n.State == api.NodeDown:
			if wait := voterPatience - now.Sub(n.Since); wait > 0 {
				retry = wait
			} else {
				lost = id
			}
		}
	}
	mayRemove := answering > (len(voters)-1)/2
	candidate := bestCandidate(nodes, voters, func(id string) bool { return alive(id) && able(id) })
	switch {
	case gone != "" && mayRemove && gone != self:
		return voterChange{remove: gone}
	case candidate != nil && stay < want:
		return voterChange{add: candidate.ID, addr: candidate.Addr}
	case demoted != "" && mayRemove && demoted == self:
		return voterChange{yield: true, retry: yieldPause}
	case demoted != "" && mayRemove:
		return voterChange{remove: demoted}
	case lost != "" && mayRemove && len(voters) > want:
		return voterChange{remove: lost}
	case lost != "" && candidate != nil:
		return voterChange{add: candidate.ID, addr: candidate.Addr}
	case len(voters) > want && mayRemove:
		return voterChange{remove: surplusVoter(byID, voters, self)}
	}
	return voterChange{retry: retry}
}

// bestCandidate is the node to promote: one that may, voter-only ones
// first, then who joined first.
func bestCandidate(nodes []*api.Node, voters []string, alive func(string) bool) *api.Node {
	var best *api.Node
	for _, n := range nodes {
		if n.State != api.NodeReady || n.WorkerOnly || n.Addr == "" || slices.Contains(voters, n.ID) || !alive(n.ID) {
			continue
		}
		if best == nil || n.VoterOnly && !best.VoterOnly || n.VoterOnly == best.VoterOnly && n.Joined.Before(best.Joined) {
			best = n
		}
	}
	return best
}

// surplusVoter is the voter that joined last, never this node itself.
func surplusVoter(byID map[string]*api.Node, voters []string, self string) string {
	last := ""
	for _, id := range voters {
		if id != self && (last == "" || byID[id].Joined.After(byID[last].Joined)) {
			last = id
		}
	}
	return last
}

// raftMembers is what the voter loop needs of Raft.
type raftMembers interface {
	Voters() []string
	AddVoter(ctx context.Context, id, addr string) error
	Remove(ctx context.Context, id string) error
	TransferLeadership(ctx context.Context) error
}

// voterLoop keeps the voters as they should be while this node leads.
type voterLoop struct {
	self  string
	store *fsm.Store
	raft  raftMembers
	alive func(id string) bool
	able  func(id string) bool   // knows what a voter has to
	wake  func() <-chan struct{} // fires when who is alive changed
	now   func() time.Time
	log   *slog.Logger
}

func (l *voterLoop) Run(ctx context.Context) error {
	w := &loop.Loop{Store: l.store, Tables: []fsm.Table{fsm.TableNodes}, Now: l.now, Wake: l.wake,
		Pass: func(ctx context.Context, _ loop.Changes) time.Time { return l.now().Add(l.step(ctx)) }}
	return w.Run(ctx)
}

func (l *voterLoop) step(ctx context.Context) time.Duration {
	v := l.store.View()
	change := nextVoterChange(slices.Collect(v.Nodes()), l.raft.Voters(), l.self, l.alive, l.able, l.now())
	var err error
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	switch {
	case change.add != "":
		l.log.Info("adding a voter", "node", nodeName(v, change.add))
		err = l.raft.AddVoter(ctx, change.add, change.addr)
	case change.remove != "":
		l.log.Info("removing a voter", "node", nodeName(v, change.remove))
		err = l.raft.Remove(ctx, change.remove)
	case change.yield:
		l.log.Info("this node is to vote no more: another is to lead")
		if err := l.raft.TransferLeadership(ctx); err != nil {
			l.log.Warn("handing the lead over failed; trying again", "err", err)
		}
		return change.retry
	case change.retry > 0:
		return change.retry
	default:
		return time.Hour
	}
	if err != nil {
		l.log.Warn("changing the voters failed; trying again", "err", err)
		return time.Second
	}
	return time.Millisecond
}

func nodeName(v *fsm.View, id string) string {
	if n := v.Node(id); n != nil {
		return n.Name
	}
	return id
}

// mayRemoveNode refuses to remove a node, or to take its vote, when the voters
// that are left could not decide anything.
func mayRemoveNode(n *api.Node, nodes []*api.Node, voters []string, alive func(string) bool) error {
	if !slices.Contains(voters, n.ID) {
		return nil
	}
	if len(voters) == 1 {
		return api.Errorf(api.CodeConflict, "%s is the last voter: add another node first, or let one vote with `mesita node promote NAME`; stop mesita there to end the cluster", n.Name)
	}
	left, answering := 0, 0
	var silent []string
	for _, id := range voters {
		if id == n.ID {
			continue
		}
		left++
		if alive(id) {
			answering++
			continue
		}
		for _, m := range nodes {
			if m.ID == id {
				silent = append(silent, m.Name)
			}
		}
	}
	if answering <= left/2 {
		return api.Errorf(api.CodeConflict, "without %s the quorum is lost: of the %s left, %s would not answer; bring it back or remove it first", n.Name, api.Count(left, "voter"), strings.Join(silent, ", "))
	}
	return nil
}
