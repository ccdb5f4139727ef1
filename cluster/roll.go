package cluster

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
)

// A certificate says which node somebody is, and lives for months; whether that
// node still belongs to the cluster is in the state. A voter looks there. A
// worker is told by its feed who was removed, and asks a voter what it was not
// told; what it cannot find out it refuses.

const (
	// askMember bounds a question to one voter.
	askMember = time.Second
	// memberFor is how long its answer holds.
	memberFor = 5 * time.Second
	// maxHeard bounds the answers that are remembered.
	maxHeard = 4096
)

// roll is what a node without a copy of the state knows of the others.
type roll struct {
	gone atomic.Pointer[map[string]bool] // by the feed: ids of all that were removed; nil = it does not say
	news signal                          // that changed

	mu    sync.Mutex
	heard map[string]*heardOf // from voters that were asked
}

// told notes what the feed says of who was removed.
func (r *roll) told(f *feed) {
	if !f.told {
		r.gone.Store(nil)
		return
	}
	gone := f.gone
	if was := r.gone.Swap(&gone); was == nil || !maps.Equal(*was, gone) {
		r.news.notify()
	}
}

// heardOf is one question, and its answer once done is closed.
type heardOf struct {
	done chan struct{}
	at   time.Time
	is   server.Member
	err  error
}

// goneError refuses a node that was removed.
func goneError(name string) error {
	return api.Errorf(api.CodeNotAllowed, "node %s was removed from the cluster: join again with a new token", name)
}

// seenPath is where a node tells one that asks how far it saw that one come.
const seenPath = "/v1/internal/seen"

// admitPeer refuses a request of a node that is not known to be a member. A voter that
// starts asks what was seen of it before anybody can be asked about it, and must
// not vote without the answer, which is about nobody else.
func (a *Agent) admitPeer(r *http.Request, id string) error {
	if err := a.ages.admit(r, id); err != nil {
		return err
	}
	if r.URL.Path != seenPath {
		return a.belongs(r.Context(), id)
	}
	return a.knownGone(id)
}

// knownGone is an error for a node of which this one has heard that it was
// removed.
func (a *Agent) knownGone(id string) error {
	if n := a.store.View().Node(id); n != nil && n.State == api.NodeGone {
		return goneError(n.Name)
	}
	if gone := a.roll.gone.Load(); gone != nil && (*gone)[id] {
		return goneError(id)
	}
	return nil
}

// endRemoved ends the connections of nodes that are found to be removed.
func (a *Agent) endRemoved(ctx context.Context) error {
	w := a.store.Watch(fsm.TableNodes)
	defer w.Close()
	for {
		heard := a.roll.news.wait()
		a.certs.EndStrange()
		select {
		case <-ctx.Done():
			return nil
		case <-w.Ready():
			w.Take()
		case <-heard:
		}
	}
}

// belongs is nil for a node that is a member of the cluster. One that is not
// known is not let in: the error then is CodeUnavailable.
func (a *Agent) belongs(ctx context.Context, id string) error {
	n := a.store.View().Node(id)
	switch {
	case id == a.self.NodeID:
		return nil
	case n != nil && n.State == api.NodeGone:
		return goneError(n.Name)
	case n != nil && a.hasState():
		return nil
	case n == nil && a.hasState() && a.raft.Leads():
		return api.Errorf(api.CodeNotAllowed, "node %s is not in the cluster: join with a token", id)
	case a.store.View().Cluster() == nil && a.inRaft(id): // the log of a voter that has not read its state yet
		return nil
	}
	if gone := a.roll.gone.Load(); gone != nil && a.fed.Load() {
		if (*gone)[id] {
			return goneError(id)
		}
		return nil
	}
	is, err := a.roll.ask(ctx, id, "", a.askMember)
	if err != nil {
		return err
	}
	return memberError(id, is)
}

func memberError(id string, is server.Member) error {
	switch is.State {
	case server.MemberGone:
		return goneError(id)
	case server.MemberNever:
		return api.Errorf(api.CodeNotAllowed, "node %s is not in the cluster: join with a token", id)
	}
	return nil
}

// hasState reports whether this node follows the log: one that voted once has an
// old copy of the state.
func (a *Agent) hasState() bool {
	return members{a}.HasReplica() && slices.Contains(a.raft.Voters(), a.self.NodeID)
}

// inRaft reports whether the log of this node says that another takes part in it.
func (a *Agent) inRaft(id string) bool {
	servers, err := a.raft.Members()
	if err != nil {
		return false
	}
	for _, s := range servers {
		if s.ID == id {
			return true
		}
	}
	return false
}

// ask asks once for all that want to know the same at a time.
func (r *roll) ask(ctx context.Context, id, program string, ask func(ctx context.Context, id, program string) (server.Member, error)) (server.Member, error) {
	key := id + " " + program
	r.mu.Lock()
	h := r.heard[key]
	if h == nil || h.over() {
		if len(r.heard) >= maxHeard || r.heard == nil {
			r.heard = map[string]*heardOf{}
		}
		h = &heardOf{done: make(chan struct{})}
		r.heard[key] = h
		go func() { // bounded by its timeout, and there is one for a key
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*askMember)
			defer cancel()
			h.is, h.err = ask(ctx, id, program)
			h.at = time.Now()
			close(h.done)
		}()
	}
	r.mu.Unlock()
	select {
	case <-h.done:
		return h.is, h.err
	case <-ctx.Done():
		return server.Member{}, api.Errorf(api.CodeUnavailable, "whether node %s belongs to the cluster was not found out in time: try again", id)
	}
}

// over reports whether an answer is old. An error is not remembered.
func (h *heardOf) over() bool {
	select {
	case <-h.done:
		return h.err != nil || time.Since(h.at) > memberFor
	default:
		return false
	}
}

// askMember asks the voters what a node is, and whether it needs a program: the
// leader first.
func (a *Agent) askMember(ctx context.Context, id, program string) (server.Member, error) {
	var voters []string
	if leader := a.leaderID(); leader != "" {
		voters = append(voters, leader)
	}
	for _, m := range a.members() {
		if m.Meta.Voter && m.State == gossip.Alive && !slices.Contains(voters, m.ID) {
			voters = append(voters, m.ID)
		}
	}
	query := url.Values{"id": {id}}
	if program != "" {
		query.Set("program", program)
	}
	last := error(api.Errorf(api.CodeUnavailable, "no voter is known"))
	for _, v := range voters {
		if v == a.self.NodeID || v == id && !a.least() { // who is asked about does not answer for itself
			continue
		}
		one, cancel := context.WithTimeout(ctx, askMember)
		var is server.Member
		err := a.peers.call(one, v, http.MethodGet, "/v1/internal/member?"+query.Encode(), nil, &is)
		cancel()
		if err == nil {
			return is, nil
		}
		if api.ErrorCode(err) == api.CodeNotFound && !a.least() { // a voter that does not know the question
			return server.Member{State: server.MemberIn, Program: true}, nil
		}
		last = err
	}
	return server.Member{}, api.Errorf(api.CodeUnavailable, "whether node %s belongs to the cluster is not known here, and no voter tells: %v; try again", id, last)
}

// least reports whether nodes have no more rights than they need: see
// fsm.LeastRights. Once a node has heard that, it stays so.
func (a *Agent) least() bool {
	return a.store.View().Does(fsm.LeastRights) || a.leastRights.Load()
}

// heardLevel notes the level that a voter told.
func (a *Agent) heardLevel(level int) {
	if level == 0 || a.selfLevel() >= level {
		return
	}
	if err := a.changeSelf(func(n *datadir.Node) { n.Level = level }); err != nil {
		a.log.Warn("remembering the level of the cluster failed", "err", err)
	}
	a.noteLeast(level)
}

func (a *Agent) noteLeast(level int) {
	if fsm.Level(level).Has(fsm.LeastRights) {
		a.leastRights.Store(true)
	}
}

func (a *Agent) selfLevel() int {
	a.selfMu.Lock()
	defer a.selfMu.Unlock()
	return a.self.Level
}

// vouches reports whether another node may say who its callers are. The leader
// believes voters; others, who may know no voters or former ones only, also who
// holds the cluster's authority.
func (a *Agent) vouches(id string, voter bool) bool {
	return slices.Contains(a.raft.Voters(), id) || voter && !a.raft.IsLeader()
}

// noLocalAdmin reports whether root of a node that does not vote is not an admin. Who has
// no state cannot know, and so believes no such node: it is called by way of a
// voter.
func (a *Agent) noLocalAdmin() (bool, error) {
	c := a.store.View().Cluster()
	if c == nil || !a.hasState() {
		return false, api.Errorf(api.CodeUnavailable, "whether root of a node that does not vote is an admin is not known here: ask a voter")
	}
	return c.NoLocalAdmin, nil
}

// admitStream says why a node gets no stream of Raft or gossip.
func (a *Agent) admitStream(c tlsconf.Caller) error {
	if err := a.knownGone(c.ID); err != nil {
		return err
	}
	if strings.HasPrefix(c.Proto, tlsconf.ProtoRaft) {
		if n := a.store.View().Node(c.ID); n != nil && c.Session != "" && c.Session != n.Session && a.holderLives(n) { // gossip looks by itself
			return heldError(n.Name, n.Addr)
		}
		return a.admitRaft(c)
	}
	// What a node says that is called is sealed under the cluster's key for gossip,
	// and a node that starts has nobody to ask.
	if c.Dialed || c.Voter || a.inRaft(c.ID) || a.lostFeed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), askMember)
	defer cancel()
	return a.belongs(ctx, c.ID)
}

// lostFeed reports whether this node had a feed and has none now. Then there may be
// no voter to ask, and one that starts has to find this node to be told what it
// saw (admitPeer).
func (a *Agent) lostFeed() bool {
	return !a.hasState() && a.roll.gone.Load() != nil && !a.fed.Load()
}

// admitRaft admits those that take part in Raft: by this node's log, or, as its
// log may be old or empty, by a certificate that only who votes can have made.
func (a *Agent) admitRaft(c tlsconf.Caller) error {
	switch {
	case a.inRaft(c.ID), c.Voter:
		return nil
	case a.least():
		return api.Errorf(api.CodeNotAllowed, "node %s is not a voter", a.nameOf(c.ID))
	}
	ctx, cancel := context.WithTimeout(context.Background(), askMember)
	defer cancel()
	return a.belongs(ctx, c.ID)
}

// MayFetch says why a node gets no program from here: it has no task that runs
// it.
func (m members) MayFetch(ctx context.Context, id, digest string) error {
	v := m.store.View()
	needs := server.Member{Program: server.Needs(v, id, digest)}
	if !m.least() || needs.Program && m.hasState() {
		return nil
	}
	if !m.raft.IsLeader() {
		var err error
		if needs, err = m.roll.ask(ctx, id, digest, m.askMember); err != nil {
			return err
		}
		if err := memberError(id, needs); err != nil {
			return err
		}
	}
	if !needs.Program {
		return api.Errorf(api.CodeNotAllowed, "node %s has no task that runs the program %s", m.nameOf(id), digest)
	}
	return nil
}
