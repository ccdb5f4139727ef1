package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
)

// streamSilence is how long a stream of assignments may say nothing before it
// counts as broken; the leader sends a sign of life every ten seconds.
const streamSilence = 25 * time.Second

// followAssignments hands the executor what this node should run: a voter
// reads it in its own replica, a worker follows a feed from a voter. The
// executor is told nothing until the source is known to be up to date, since
// an old list would stop tasks that should run.
func (a *Agent) followAssignments(ctx context.Context) error {
	member, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		select {
		case <-a.gone:
			cancel()
		case <-member.Done():
		}
	}()
	a.followCluster(member)
	<-stop
	if ctx.Err() == nil {
		a.assign(nil, nil) // it was removed
		<-ctx.Done()
	}
	return nil
}

// followCluster hands the executor what the cluster says until ctx ends.
func (a *Agent) followCluster(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-a.claimed:
	}
	var known feed
	retry := backoff.New(100*time.Millisecond, 2*time.Second)
	for try := 0; ctx.Err() == nil; try++ {
		if a.votes() {
			a.followReplica(ctx)
			known = feed{} // it is older than the replica was
			continue
		}
		before := known.index
		err := a.followFeed(ctx, &known, try)
		a.fed.Store(false)
		if err != nil && ctx.Err() == nil {
			a.log.Debug("following the cluster ended", "err", err)
		}
		if known.index > before {
			retry.Reset()
			try = -1 // the leader first
		}
		retry.Wait(ctx)
	}
}

// assign hands the executor a set, with this node as the same state has it.
// While the cluster thinks it away an attempt that it did not start yet may be
// given up at any moment; once it has said hello that cannot be any more.
func (a *Agent) assign(as []api.Assignment, self *api.Node) {
	away := self != nil && awayIn(self.State)
	a.executors.Assign(as, !away) // first: an executor that starts is told of itself there
	a.nodeAPI.Assign(as)
	if away {
		a.exec.AssignAway(withProcess(as))
		return
	}
	a.exec.Assign(withProcess(as))
}

// bound hands the executor what limits bound what it runs, if that is news.
func (a *Agent) bound(all *[]api.CPUBound) {
	if all != nil {
		a.exec.Bound(*all)
	}
}

// keep hands the executor which volumes there are at an index, if that is news, before
// what uses them.
func (a *Agent) keep(folders *[]string, index uint64) {
	if folders != nil {
		a.exec.KeepVolumes(*folders, index)
	}
}

func awayIn(s api.NodeState) bool { return s == api.NodeUnreachable || s == api.NodeDown }

// votes reports whether this node's replica follows the log. One on a disk that
// died does not, though it votes: its tasks would never hear of it.
func (a *Agent) votes() bool {
	return a.raft.Healthy() == nil && a.raft.LeaderID() != "" && slices.Contains(a.raft.Voters(), a.self.NodeID)
}

// followReplica feeds the executor from the store until this node no longer
// votes for long.
func (a *Agent) followReplica(ctx context.Context) {
	if !a.awaitCaughtUp(ctx) {
		return
	}
	w := a.store.WatchKey(a.self.NodeID, fsm.TableNodeTasks, fsm.TableNodes, fsm.TableReservations)
	defer w.Close()
	check := time.NewTicker(5 * time.Second)
	defer check.Stop()
	a.sayVoter()
	a.tellVoter(true)
	defer func() {
		if !errors.Is(context.Cause(ctx), errStopping) { // its goodbye is next
			a.tellVoter(false)
		}
	}()
	silent := 0
	var bounds server.Bounds
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.Ready():
			w.Take()
			v := a.store.View()
			all := v.Assignments(a.self.NodeID)
			a.bound(bounds.Of(v, all))
			if v.Node(a.self.NodeID) != nil { // else the state is from before this node, and knows none of its volumes
				a.keep(new(v.VolumeFolders(a.self.NodeID)), v.Index())
			}
			a.assign(all, v.Node(a.self.NodeID))
		case <-a.raft.Unwell():
			if a.leaderID() != "" && !a.raft.IsLeader() {
				return
			}
			if !backoff.Pause(ctx, 100*time.Millisecond) {
				return
			}
		case <-check.C:
			a.bound(bounds.Again(a.store.View()))
			// Without a leader the last list stays right; but this node may
			// have been replaced as a voter meanwhile.
			if a.votes() {
				silent = 0
				a.sayVoter()
			} else if silent++; silent >= 2 && a.leaderID() != "" {
				return
			}
		}
	}
}

// awaitCaughtUp waits until the replica holds what was committed when it first
// heard from a leader after its start, and what a leader's stream told since.
func (a *Agent) awaitCaughtUp(ctx context.Context) bool {
	for !a.raft.CaughtUp() || a.store.View().Index() < a.told.Load() {
		if !backoff.Pause(ctx, 10*time.Millisecond) || !a.votes() {
			return false
		}
	}
	return true
}

// feedFrom is the voter to ask at a try: the leader, then the others in turn. A
// node that knows nothing yet asks the leader alone.
func (a *Agent) feedFrom(known *feed, try int) string {
	var from []string
	if leader := a.leaderID(); leader != "" && leader != a.self.NodeID {
		from = append(from, leader)
	}
	if known.index > 0 {
		for _, m := range a.gossip.Load().Members() {
			if m.Meta.Voter && m.State == gossip.Alive && m.ID != a.self.NodeID && !slices.Contains(from, m.ID) {
				from = append(from, m.ID)
			}
		}
	}
	if len(from) == 0 {
		return ""
	}
	return from[try%len(from)]
}

// followFeed feeds the executor from a voter.
func (a *Agent) followFeed(ctx context.Context, known *feed, try int) error {
	from := a.feedFrom(known, try)
	if from == "" {
		return errors.New("no voter is known")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(streamSilence, func() { cancel(errors.New("the feed fell silent")) })
	defer silence.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://%s/v1/internal/feed?after=%d", from, known.index), nil)
	if err != nil {
		return err
	}
	res, err := a.peers.transport(from).RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound: // a version that has no feed yet
		*known = feed{}
		return a.followLeader(ctx)
	default:
		return a.peers.answer(res, nil)
	}
	for dec := json.NewDecoder(res.Body); ; {
		var row json.RawMessage
		var r server.FeedRow
		err := dec.Decode(&row)
		if err == nil {
			err = api.DecodeLenient(row, &r)
		}
		if err != nil {
			return fmt.Errorf("read the feed of node %s: %w", a.nameOf(from), err)
		}
		silence.Reset(streamSilence)
		if a.votes() {
			return nil // promoted meanwhile
		}
		if err := known.take(&r); err != nil {
			*known = feed{}
			return fmt.Errorf("the feed of node %s: %w", a.nameOf(from), err)
		}
		a.heardLevel(r.Level)
		a.roll.told(known)
		a.takeRing(r.Ring)
		a.ca.tell(r.CA)
		a.fed.Store(true)
		a.heardOfSelf(r.Node)
		a.bound(r.Bounds)
		a.keep(r.Volumes, r.Index)
		if r.Begin || len(r.Put) > 0 || len(r.Over) > 0 || r.Node != nil {
			a.told.Store(r.Index)
			a.assign(known.list(), a.ownNode.Load())
		}
	}
}

// heardOfSelf takes in what the cluster thinks of this node, if it said so.
func (a *Agent) heardOfSelf(n *api.Node) {
	if n == nil {
		return
	}
	a.ownNode.Store(n)
	a.checkHolder(n)
	a.lost.notify()
}

// followLeader feeds the executor from the stream of a leader that has no feed
// yet; it goes once no version before the feed takes part in an upgrade.
func (a *Agent) followLeader(ctx context.Context) error {
	leader := a.leaderID()
	if leader == "" || leader == a.self.NodeID {
		return errors.New("no leader is known")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(streamSilence, func() { cancel(errors.New("the stream fell silent")) })
	defer silence.Stop()
	res, err := a.getFromLeader(ctx, leader, "/v1/internal/assignments?node="+a.self.NodeID)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return a.peers.answer(res, nil)
	}
	have := map[string]api.Assignment{}
	for dec := json.NewDecoder(res.Body); ; {
		var d server.AssignmentsDelta
		var row json.RawMessage
		err := dec.Decode(&row)
		if err == nil {
			err = api.DecodeLenient(row, &d)
		}
		if err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		silence.Reset(streamSilence)
		if a.votes() {
			return nil // promoted meanwhile
		}
		a.heardOfSelf(d.Node)
		if d.Full || len(d.Put) > 0 || len(d.Remove) > 0 || d.Node != nil {
			merge(have, &d)
			a.told.Store(d.Index)
			a.assign(assignmentList(have), a.ownNode.Load())
		}
	}
}

func merge(have map[string]api.Assignment, d *server.AssignmentsDelta) {
	if d.Full {
		clear(have)
	}
	for _, p := range d.Put {
		have[p.Task.ID] = p
	}
	for _, id := range d.Remove {
		delete(have, id)
	}
}

func assignmentList(have map[string]api.Assignment) []api.Assignment {
	out := make([]api.Assignment, 0, len(have))
	for _, p := range have {
		out = append(out, p)
	}
	return out
}

// ownRecord is what the cluster has of this node, as far as it knows; nil if it
// does not.
func (a *Agent) ownRecord() *api.Node {
	if a.votes() {
		return a.store.View().Node(a.self.NodeID)
	}
	return a.ownNode.Load()
}

// ownState is what the cluster thinks of this node, as far as it knows.
func (a *Agent) ownState() (api.NodeState, bool) {
	if n := a.ownRecord(); n != nil {
		return n.State, true
	}
	return 0, false
}

// awaitReady blocks until this node can serve: it knows a leader, and the
// cluster knows it.
func (a *Agent) awaitReady(ctx context.Context) error {
	joined := a.joined.wait()
	for !a.announced.Load() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-joined:
		}
		joined = a.joined.wait()
	}
	return nil
}
