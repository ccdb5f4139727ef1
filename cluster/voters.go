package cluster

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/fsm"
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

// electorate is what the next step is decided on.
type electorate struct {
	nodes       []*api.Node
	members     []consensus.Server // who gets the log, and who votes
	self        string
	alive, able func(id string) bool
	failing     map[string]failedVoter // who could not be added
	now         time.Time
}

// failedVoter is of a node that could not be made a voter, by no try since.
type failedVoter struct{ since, last time.Time }

// fails reports whether others come before a node, which could not be added for long.
func (e electorate) fails(id string) bool {
	f, ok := e.failing[id]
	return ok && e.now.Sub(f.since) >= voterPatience
}

// next decides the next step. A voter is removed only when the voters that answer
// stay a majority of those that are left, and not before a replacement votes,
// unless there are too many, or it may vote no more and none can be added. Who gets the log without a vote is on the way to one, or
// is taken out of Raft.
func (e electorate) next() voterChange {
	byID := map[string]*api.Node{}
	usable := 0
	for _, n := range e.nodes {
		byID[n.ID] = n
		if n.State != api.NodeGone && !n.WorkerOnly {
			usable++
		}
	}
	want := api.VotersOf(usable)
	voters := votersOf(e.members)
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
		case e.alive(id):
			answering++
		case n.State == api.NodeUnreachable || n.State == api.NodeDown:
			if wait := voterPatience - e.now.Sub(n.Since); wait > 0 {
				retry = wait
			} else {
				lost = id
			}
		}
	}
	mayRemove := answering > (len(voters)-1)/2
	candidate := e.bestCandidate(voters)
	reader, wait := e.reader(byID, stay < want || lost != "")
	switch {
	case gone != "" && mayRemove && gone != e.self:
		return voterChange{remove: gone}
	case reader != "":
		return voterChange{remove: reader}
	case demoted != "" && mayRemove && (candidate == nil || stay >= want || e.fails(candidate.ID)):
		if demoted == e.self {
			return voterChange{yield: true, retry: yieldPause}
		}
		return voterChange{remove: demoted}
	case candidate != nil && stay < want:
		return voterChange{add: candidate.ID, addr: candidate.Addr}
	case lost != "" && mayRemove && len(voters) > want:
		return voterChange{remove: lost}
	case lost != "" && candidate != nil:
		return voterChange{add: candidate.ID, addr: candidate.Addr}
	case len(voters) > want && mayRemove:
		return voterChange{remove: surplusVoter(byID, voters, e.self)}
	}
	return voterChange{retry: sooner(retry, wait)}
}

// sooner is the shorter wait of those that are any.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

func votersOf(members []consensus.Server) (ids []string) {
	for _, s := range members {
		if s.Voter {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// reader is a member that gets the log and is not to vote, and so is to be taken out;
// or how long until there may be one. A node that was added and did not have the log
// in time stays one, and what is in the log, as the next key of the CA, is for voters.
func (e electorate) reader(byID map[string]*api.Node, wanted bool) (id string, retry time.Duration) {
	for _, s := range e.members {
		n := byID[s.ID]
		switch {
		case s.Voter:
		case n == nil, n.State == api.NodeGone, n.WorkerOnly, !wanted, e.alive(s.ID) && !e.able(s.ID):
			return s.ID, 0
		case n.State != api.NodeReady:
			wait := voterPatience - e.now.Sub(n.Since)
			if wait <= 0 {
				return s.ID, 0
			}
			retry = sooner(retry, wait)
		}
	}
	return "", retry
}

// bestCandidate is the node to promote: one that may, voter-only ones
// first, then who joined first. Those that cannot be added come last, and in turn.
func (e electorate) bestCandidate(voters []string) *api.Node {
	var best *api.Node
	for _, n := range e.nodes {
		if n.State != api.NodeReady || n.WorkerOnly || n.Addr == "" || slices.Contains(voters, n.ID) || !e.alive(n.ID) || !e.able(n.ID) {
			continue
		}
		if best == nil || e.before(n, best) {
			best = n
		}
	}
	return best
}

func (e electorate) before(n, best *api.Node) bool {
	switch fails := e.fails(n.ID); {
	case fails != e.fails(best.ID):
		return !fails
	case fails:
		return e.failing[n.ID].last.Before(e.failing[best.ID].last)
	}
	return n.VoterOnly && !best.VoterOnly || n.VoterOnly == best.VoterOnly && n.Joined.Before(best.Joined)
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
	Members() ([]consensus.Server, error)
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

	failing map[string]failedVoter
}

func (l *voterLoop) Run(ctx context.Context) error {
	w := &loop.Loop{Store: l.store, Tables: []fsm.Table{fsm.TableNodes}, Now: l.now, Wake: l.wake,
		Pass: func(ctx context.Context, _ loop.Changes) time.Time { return l.now().Add(l.step(ctx)) }}
	return w.Run(ctx)
}

func (l *voterLoop) step(ctx context.Context) time.Duration {
	v := l.store.View()
	members, err := l.raft.Members()
	if err != nil {
		l.log.Warn("who takes part in Raft is not known; trying again", "err", err)
		return time.Second
	}
	change := electorate{nodes: slices.Collect(v.Nodes()), members: members, self: l.self, alive: l.alive, able: l.able, failing: l.failing, now: l.now()}.next()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	switch {
	case change.add != "":
		l.log.Info("adding a voter", "node", nodeName(v, change.add))
		err = l.add(ctx, change.add, change.addr)
		l.tried(v, change.add, err)
	case change.remove != "":
		l.log.Info("taking a node out of Raft", "node", nodeName(v, change.remove))
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
	if err != nil && !errors.Is(err, errNoVoter) {
		l.log.Warn("changing the voters failed; trying again", "err", err)
		return time.Second
	}
	return time.Millisecond
}

// add makes a node a voter, and gives up at once when it may be none any more: while
// that is tried it gets the log, and it would for as long as nobody takes it out.
func (l *voterLoop) add(ctx context.Context, id, addr string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	watch := l.store.WatchKey(id, fsm.TableNodes)
	defer watch.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, _, err := watch.Wait(ctx); err != nil {
				return
			}
			if n := l.store.View().Node(id); n == nil || n.State == api.NodeGone || n.WorkerOnly {
				cancel(errNoVoter)
				return
			}
		}
	}()
	err := l.raft.AddVoter(ctx, id, addr)
	if context.Cause(ctx) == errNoVoter {
		err = errNoVoter
	}
	cancel(nil)
	<-done
	return err
}

var errNoVoter = errors.New("it may not vote any more")

// tried notes whether a node could be made a voter.
func (l *voterLoop) tried(v *fsm.View, id string, err error) {
	maps.DeleteFunc(l.failing, func(id string, _ failedVoter) bool { n := v.Node(id); return n == nil || n.State == api.NodeGone })
	if err == nil || errors.Is(err, errNoVoter) { // the node is not at fault
		delete(l.failing, id)
		return
	}
	if l.failing == nil {
		l.failing = map[string]failedVoter{}
	}
	f := failedVoter{since: l.now(), last: l.now()}
	if was, ok := l.failing[id]; ok {
		f.since = was.since
	}
	l.failing[id] = f
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
