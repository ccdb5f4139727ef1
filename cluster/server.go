package cluster

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/node"
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/logs"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
)

// members is what the HTTP server asks about the other nodes.
type members struct{ *Agent }

var _ server.Cluster = members{}

func (m members) NodeID() string   { return m.self.NodeID }
func (m members) LeaderID() string { return m.leaderID() }

// IsLeader is true once a leader knows all that was acknowledged before it led:
// until then its state may be empty.
func (m members) IsLeader() bool { return m.raft.Leads() && m.store.View().Cluster() != nil }

// HasReplica is true once this node, as a member of Raft, has read what the
// cluster had agreed on when it first heard from a leader.
func (m members) HasReplica() bool {
	return m.raft.HasConfiguration() && m.raft.CaughtUp() && m.store.View().Cluster() != nil
}

func (m members) Healthy() error {
	if err := m.removedError(); err != nil {
		return err
	}
	select {
	case <-m.gone:
		return api.Errorf(api.CodeConflict, "another daemon speaks for this node: its tasks here end, and this daemon with them")
	default:
	}
	if since := m.certs.Expired(); !since.IsZero() && m.leaderID() == "" { // with a leader it is this clock that is wrong
		return api.Errorf(api.CodeUnavailable, "this node's certificate expired at %s by the clock here, and no other node has answered with a new one yet", since.Format(time.RFC3339))
	}
	if err := m.raft.Healthy(); err != nil || m.leaderID() != "" {
		return err
	}
	if err := m.raft.Damaged(); err != nil { // why there may be no quorum
		return err
	}
	return m.ages.behind()
}

func (m members) Links() string { return m.raft.Links(m.nameOf) }

func (m members) Role(id string) string {
	if id == m.leaderID() {
		return "voter, leader"
	}
	if slices.Contains(m.raft.Voters(), id) {
		return "voter"
	}
	return "worker"
}

func (m members) OutOfRaft(id string) bool { return m.raft.Lacks(id) }

// passers is how many nodes are asked to pass a request on, at most.
const passers = 2

// PassOn are voters that answer: one of them may reach a leader that this node
// cannot.
func (m members) PassOn(leader string) []string {
	var out []string
	for _, n := range m.Agent.members() {
		if n.ID != leader && n.ID != m.self.NodeID && n.State == gossip.Alive && n.Meta.Voter && len(out) < passers {
			out = append(out, n.ID)
		}
	}
	return out
}

func (m members) Peer(id string) (string, http.RoundTripper, error) {
	addr, ok := m.addrOf(id)
	if !ok {
		return "", nil, api.Errorf(api.CodeUnavailable, "the address of node %s is not known", m.nameOf(id))
	}
	return addr, m.peers.transport(id), nil
}

func (m members) Join(ctx context.Context, r api.JoinRequest) (*api.JoinGrant, error) {
	return m.admit(ctx, r)
}

func (m members) Renew(ctx context.Context, id string, csr []byte) ([]byte, error) {
	n := m.store.View().Node(id)
	if n == nil || n.State == api.NodeGone {
		return nil, api.Errorf(api.CodeNotAllowed, "node %s is not in the cluster", id)
	}
	return m.signFor(ctx, id, n.Name, csr)
}

// MayRemoveNode is why RemoveNode would refuse, nil if it would not.
func (m members) MayRemoveNode(n *api.Node, force bool) error {
	v := m.store.View()
	if err := mayRemoveNode(n, slices.Collect(v.Nodes()), m.raft.Voters(), m.answers); err != nil {
		return err
	}
	if _, tasks := v.Ledger(n.ID); tasks > 0 && !force {
		if n.State == api.NodeUnreachable || n.State == api.NodeDown {
			return api.Errorf(api.CodeConflict, "node %s is %s and may still run %s: if it is off for good, or may end them, use --force", n.Name, n.State, api.Count(tasks, "task"))
		}
		return api.Errorf(api.CodeConflict, "node %s runs %s: drain it first, or use --force", n.Name, api.Count(tasks, "task"))
	}
	return nil
}

// RemoveNode takes a node out of Raft first, so that it cannot vote once it is
// gone. A leader leaves its own removal to another.
func (m members) RemoveNode(ctx context.Context, n *api.Node, force bool, actor string) error {
	if err := m.MayRemoveNode(n, force); err != nil {
		return err
	}
	if n.ID == m.self.NodeID {
		return m.leaveLead(ctx, n.Name)
	}
	if m.inRaft(n.ID) { // also without a vote: it gets the log
		if err := m.raft.Remove(ctx, n.ID); err != nil {
			return err
		}
	}
	_, err := m.store.Do(ctx, &fsm.NodeRemove{Meta: fsm.Meta{At: m.cfg.Now(), Actor: actor}, ID: n.ID, Force: force})
	return err
}

// handOverWithin bounds how long a leader that is to be removed waits for another
// to lead.
const handOverWithin = 5 * time.Second

// leaveLead makes another voter the leader. It always returns an error that has the
// request sent again, which the new leader then answers.
func (m members) leaveLead(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, handOverWithin)
	defer cancel()
	if err := m.raft.TransferLeadership(ctx); err != nil {
		return api.Errorf(api.CodeUnavailable, "%s leads the cluster, and no other voter took the lead (%v): nothing was removed; see `mesita node ls` and try again", name, err)
	}
	m.log.Info("this node is to be removed: another leads now")
	return api.Errorf(api.CodeUnavailable, "%s has handed the lead over, and is not removed yet: try again", name)
}

// DemoteNode takes a node's right to vote. Whoever leads then takes it out of Raft,
// once another votes in its place if one may, and has the CA's key changed.
func (m members) DemoteNode(ctx context.Context, n *api.Node, actor string) (*api.Node, error) {
	v := m.store.View()
	if err := mayRemoveNode(n, slices.Collect(v.Nodes()), m.raft.Voters(), m.answers); err != nil {
		return nil, err
	}
	out, err := m.store.Do(ctx, &fsm.NodeDemote{Meta: fsm.Meta{At: m.cfg.Now(), Actor: actor}, ID: n.ID})
	if err != nil {
		return nil, err
	}
	return out.(*api.Node), nil
}

// local is what the HTTP server asks of this node's executor.
type local struct{ *Agent }

var _ server.Local = local{}

func (l local) Logs(ctx context.Context, q server.LogQuery, emit func(*server.LogPiece) error) error {
	r, err := l.exec.Logs(ctx, q.Task, q.Attempt, executor.LogOptions{Follow: q.Follow, Tail: q.Tail, Since: q.Since, After: q.After, Stdout: q.Stdout, Stderr: q.Stderr,
		Idle: func() error { return emit(nil) }})
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		e, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		p := server.LogPiece{Time: e.Time, Stream: "stdout", Data: e.Data, Pos: e.Pos, Missing: e.Missing, Why: e.Why}
		if e.Stream == logs.Stderr {
			p.Stream = "stderr"
		}
		if err := emit(&p); err != nil {
			return err
		}
	}
}

func (l local) Exec(ctx context.Context, r server.ExecRequest, start func() (server.ExecIO, error)) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return l.exec.Exec(ctx, executor.ExecRequest{Task: r.Task, Attempt: r.Attempt, Command: r.Command, TTY: r.TTY, Size: keeper.Size(r.Size), Begin: func(e *executor.ExecRequest) error {
		stdio, err := start()
		if err != nil {
			return err
		}
		e.Stdin, e.Stdout, e.Stderr = stdio.Stdin, stdio.Stdout, stdio.Stderr
		e.Resize, e.Signals = resizes(ctx, stdio.Resize), stdio.Signals
		return nil
	}})
}

// resizes passes the sizes on until ctx ends.
func resizes[S server.Size | node.Size](ctx context.Context, in <-chan S) <-chan keeper.Size {
	sizes := make(chan keeper.Size)
	go func() {
		defer close(sizes)
		for {
			select {
			case <-ctx.Done():
				return
			case s, ok := <-in:
				if !ok {
					return
				}
				select {
				case sizes <- keeper.Size(s):
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return sizes
}

// Stats leaves out what could not be asked for before ctx ended, and says so.
func (l local) Stats(ctx context.Context, detail api.StatsDetail) ([]api.TaskStats, error) {
	stats := l.exec.Stats(ctx, detail)
	if ctx.Err() != nil {
		return stats, api.Errorf(api.CodeUnavailable, "what its tasks use was not told in time: %v", context.Cause(ctx))
	}
	return stats, nil
}

func (l local) HasBlob(digest string) bool { return l.exec.HasBlob(digest) }

func (l local) OpenBlob(digest string) (io.ReadCloser, int64, error) { return l.exec.OpenBlob(digest) }

func (l local) PutBlob(digest string, size int64, fill func(io.Writer) error) error {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.CloseWithError(fill(w)) // always nil
	}()
	err := l.exec.PutBlob(digest, size, r)
	_ = r.CloseWithError(errStopping) // lets fill end if it has not
	<-done
	return err
}

func (l local) DiskFull() (string, bool) { return l.dir.Path, l.exec.DiskFull() }

// clockOf is a node's time of day, to half a second.
func (a *Agent) clockOf(ctx context.Context, id string) (time.Time, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+id+"/v1/health", nil)
	if err != nil {
		return time.Time{}, err
	}
	res, err := a.peers.transport(id).RoundTrip(req)
	if err != nil {
		return time.Time{}, err
	}
	defer res.Body.Close()
	at, err := http.ParseTime(res.Header.Get("Date"))
	return at.Add(500 * time.Millisecond), err // it has whole seconds
}
