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
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/fsm"
)

// streamSilence is how long a stream of assignments may say nothing before it
// counts as broken; the leader sends a sign of life every ten seconds.
const streamSilence = 25 * time.Second

// followAssignments hands the executor what this node should run: a voter
// reads it in its own replica, a worker follows a stream from the leader. The
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
		a.exec.Assign(nil) // it was removed
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
	for ctx.Err() == nil {
		if a.votes() {
			a.followReplica(ctx)
			continue
		}
		err := a.followLeader(ctx)
		if err != nil && ctx.Err() == nil {
			a.log.Debug("following the leader's assignments ended", "err", err)
		}
		sleep(ctx, 100*time.Millisecond)
	}
}

// votes tells whether this node's replica follows the log. One on a disk that
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
	w := a.store.WatchKey(a.self.NodeID, fsm.TableNodeTasks)
	defer w.Close()
	check := time.NewTicker(5 * time.Second)
	defer check.Stop()
	a.tellVoter(true)
	defer a.tellVoter(false)
	silent := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.Ready():
			w.Take()
			a.exec.Assign(a.store.View().Assignments(a.self.NodeID))
		case <-a.raft.Unwell():
			if a.leaderID() != "" && !a.raft.IsLeader() {
				return
			}
			if !sleep(ctx, 100*time.Millisecond) {
				return
			}
		case <-check.C:
			// Without a leader the last list stays right; but this node may
			// have been replaced as a voter meanwhile.
			if a.votes() {
				silent = 0
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
		if !sleep(ctx, 10*time.Millisecond) || !a.votes() {
			return false
		}
	}
	return true
}

// followLeader feeds the executor from the leader's stream.
func (a *Agent) followLeader(ctx context.Context) error {
	leader := a.leaderID()
	if leader == "" || leader == a.self.NodeID {
		return errors.New("no leader is known")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(streamSilence, func() { cancel(errors.New("the stream fell silent")) })
	defer silence.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+leader+"/v1/internal/assignments?node="+a.self.NodeID, nil)
	if err != nil {
		return err
	}
	res, err := a.peers.transport(leader).RoundTrip(req)
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
		if d.Node != nil {
			a.ownNode.Store(d.Node)
			a.checkHolder(d.Node)
			a.lost.notify()
		}
		if d.Full || len(d.Put) > 0 || len(d.Remove) > 0 {
			merge(have, &d)
			a.told.Store(d.Index)
			a.exec.Assign(assignmentList(have))
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

// ownState is what the cluster thinks of this node, as far as it knows.
func (a *Agent) ownState() (api.NodeState, bool) {
	if a.votes() {
		if n := a.store.View().Node(a.self.NodeID); n != nil {
			return n.State, true
		}
		return 0, false
	}
	if n := a.ownNode.Load(); n != nil {
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
