package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
)

// A data folder that was copied, with the machine or without, is a second node
// with the same key. So each start of a daemon has a session, and the cluster
// follows one session of a node: the leader records a new one only once the
// one that it follows does not answer any more. A daemon takes on no work
// before its session is recorded, and one that lost it ends its tasks.

const (
	// claimAtStart bounds how long a start asks who else there is.
	claimAtStart = 2 * time.Second
	// holderTimeout bounds one look at whether the holder of an identity answers.
	holderTimeout = time.Second
	holderTries   = 2
)

func newSession() string { return randomHex(8) }

// heldError is why a daemon has no part in the cluster: another has the same key.
func heldError(name, addr string) error {
	return &api.Error{Code: api.CodeConflict, Field: api.FieldSession, Message: fmt.Sprintf("another daemon with the identity of node %s answers at %s: this data folder is a copy, and here runs nothing. "+
		"To make this machine a node of its own, use another --data and join with a token; to move the node here, stop the other one first", name, addr)}
}

func isHeld(err error) bool {
	var e *api.Error
	return errors.As(err, &e) && e.Code == api.CodeConflict && e.Field == api.FieldSession
}

// beginSession counts this start, and fails if another daemon with this node's
// key is found. It is called before the node takes any part in the cluster.
func (a *Agent) beginSession(ctx context.Context) error {
	if err := a.countStart(); err != nil { // a full disk keeps no node from its tasks
		a.log.Warn("counting the starts of this node failed", "err", err)
	}
	var err error
	if a.pending == nil { // else there is nobody yet to ask
		err = a.askAround(ctx, a.self.Addr)
	}
	switch {
	case isHeld(err) && a.hasKeeper():
		return errors.Join(err, a.endTasks(ctx)) // what this machine ran was replaced by the other
	case isHeld(err):
		return err
	case a.self.Addr == a.addr:
		return nil
	}
	// One that was turned away keeps the other's address, to look there again.
	if err := a.changeSelf(func(n *datadir.Node) { n.Addr = a.addr }); err != nil {
		a.log.Warn("remembering this node's address failed", "err", err)
	}
	return nil
}

// turnAway closes what comes to a port until the returned function is called:
// nodes that start together ask each other, and none answers yet.
func turnAway(l net.Listener) (admit func()) {
	t, ok := l.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return func() {}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // the deadline, or nothing can be accepted: who comes waits
			}
			_ = c.Close() // it was told nothing
		}
	})
	return func() {
		_ = t.SetDeadline(time.Unix(1, 0)) // fails only on a listener that is closed
		wg.Wait()
		_ = t.SetDeadline(time.Time{})
	}
}

// askAround claims the session at the nodes that were there last, and looks for
// another daemon where this node was last. It is nil unless there is one.
func (a *Agent) askAround(ctx context.Context, last string) error {
	ctx, cancel := context.WithTimeout(ctx, claimAtStart)
	defer cancel()
	var held firstError
	var wg sync.WaitGroup
	claim := a.claim()
	if last != "" && last != a.addr {
		if s := a.peers.sessionAt(ctx, last, a.self.NodeID); s != "" && s != a.session {
			held.set(heldError(a.self.Name, last))
			claim.Held = true // so that the operator hears of it
		}
	}
	asked, stop := context.WithCancel(ctx) // one answer is enough
	defer stop()
	for _, addr := range a.firstSeeds() {
		wg.Go(func() {
			err := a.peers.claimAt(asked, addr, claim)
			switch {
			case err == nil:
				if !claim.Held {
					a.speak()
				}
				stop()
			case isHeld(err):
				held.set(err)
				cancel()
			}
		})
	}
	wg.Wait()
	return held.get()
}

// firstSeeds is where the others were, known before anything is opened.
func (a *Agent) firstSeeds() []string {
	var out []string
	for _, s := range slices.Concat(a.self.Seeds, a.cfg.JoinAddrs) {
		if s = withPort(s); s != a.addr && !slices.Contains(out, s) && len(out) < maxAsked {
			out = append(out, s)
		}
	}
	return out
}

func (a *Agent) claim() *api.SessionClaim {
	a.selfMu.Lock()
	defer a.selfMu.Unlock()
	return &api.SessionClaim{Session: a.session, Starts: a.self.Starts, Addr: a.addr}
}

// speak notes that this daemon speaks for its node.
func (a *Agent) speak() { a.speaks.Do(func() { close(a.claimed) }) }

// hasKeeper reports whether a keeper of this folder is there; a copied folder has
// none.
func (a *Agent) hasKeeper() bool {
	return keeper.Answers(filepath.Join(a.dir.Path, "keeper"))
}

// holdSession claims the session until it is recorded, and again whenever
// others refuse this node. It fails once another daemon speaks for the node,
// after the end of the tasks here.
func (a *Agent) holdSession(ctx context.Context) error {
	again := backoff.New(time.Second, 30*time.Second)
	for retry := backoff.New(50*time.Millisecond, 10*time.Second); ; {
		doubt := a.doubt.wait()
		err := a.claimSession(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case isHeld(err):
			a.log.Error("another daemon speaks for this node: its tasks here end, and the daemon with them", "err", err)
			a.leave()
			ectx, cancel := context.WithTimeout(ctx, endTime)
			defer cancel()
			return errors.Join(err, a.exec.EndAll(ectx))
		case err == nil:
			retry.Reset()
			a.speak()
			since := time.Now()
			select {
			case <-ctx.Done():
				return nil
			case <-a.gone:
				<-ctx.Done()
				return nil
			case <-doubt:
			}
			if time.Since(since) > time.Minute {
				again.Reset()
			}
			if !again.Wait(ctx) { // who refuses once refuses often
				return nil
			}
		default:
			a.log.Debug("this start of the node is not recorded yet", "err", err)
			if !retry.Wait(ctx) {
				return nil
			}
		}
	}
}

func (a *Agent) claimSession(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := a.awaitCluster(ctx); err != nil {
		return err
	}
	if a.raft.IsLeader() {
		return members{a}.Claim(ctx, a.self.NodeID, a.claim())
	}
	err := a.callLeader(ctx, http.MethodPost, "/v1/internal/claim", a.claim(), nil)
	if api.ErrorCode(err) == api.CodeNotFound {
		return nil // a leader that knows no sessions
	}
	return err
}

// checkHolder looks whether the cluster follows another session of this node.
func (a *Agent) checkHolder(n *api.Node) {
	if n != nil && n.Session != "" && n.Session != a.session {
		a.doubt.notify()
	}
}

// leave ends this node's part in the cluster, for good.
func (a *Agent) leave() { a.leaves.Do(func() { close(a.gone) }) }

func (m members) Session() string { return m.session }

// Claim is nil once the session is recorded, which the leader does; others only
// look whether another daemon answers.
func (m members) Claim(ctx context.Context, id string, c *api.SessionClaim) error {
	if !m.raft.IsLeader() {
		if n := m.store.View().Node(id); n != nil && m.holderAnswers(ctx, n, c) {
			return heldError(n.Name, n.Addr)
		}
		return api.Errorf(api.CodeUnavailable, "no node leads the cluster now")
	}
	return m.record(ctx, id, c, m.raft.Barrier)
}

// record has the cluster follow a session. The barrier comes first: what an earlier leader
// recorded counts, and one that leads since a moment ago may not know of any session yet.
func (a *Agent) record(ctx context.Context, id string, c *api.SessionClaim, barrier func(context.Context) error) error {
	if err := barrier(ctx); err != nil {
		return err
	}
	v := a.store.View()
	if !v.Does(fsm.Sessions) {
		return nil
	}
	n := v.Node(id)
	if n == nil {
		return api.Errorf(api.CodeUnavailable, "node %s is not in the cluster yet", id)
	}
	cmd := &fsm.NodeClaim{Meta: fsm.Meta{At: a.cfg.Now(), Actor: "node:" + n.Name}, ID: id, Session: c.Session, Over: n.Session, Starts: c.Starts, Addr: c.Addr}
	cmd.Refused = n.Session != c.Session && (c.Held || a.holderAnswers(ctx, n, c))
	if cmd.Refused && a.turnedAway.recently(id+c.Addr) {
		return heldError(n.Name, n.Addr)
	}
	if _, err := a.store.Do(ctx, cmd); err != nil {
		return err
	}
	if cmd.Refused {
		return heldError(n.Name, n.Addr)
	}
	return nil
}

// holderAnswers reports whether another daemon than the claimant speaks for the
// node and is there. Where the claimant is now nobody else can be.
func (a *Agent) holderAnswers(ctx context.Context, n *api.Node, c *api.SessionClaim) bool {
	if n.Session == "" || n.Session == c.Session {
		return false
	}
	if n.ID == a.self.NodeID && c.Session != a.session {
		return n.Session == a.session
	}
	addrs := []string{n.Addr}
	if addr, ok := a.gossip.Load().Addr(n.ID); ok && addr != n.Addr {
		addrs = append(addrs, addr)
	}
	for range holderTries {
		for _, addr := range addrs {
			if addr == c.Addr || addr == "" {
				continue
			}
			if a.peers.sessionAt(ctx, addr, n.ID) == n.Session {
				return true
			}
		}
	}
	return false
}

// holder is the session that speaks for a node, "" if none was recorded.
func (a *Agent) holder(id string) string {
	if n := a.store.View().Node(id); n != nil {
		return n.Session
	}
	return ""
}

// holderLives reports whether gossip hears the daemon that speaks for a node.
func (a *Agent) holderLives(n *api.Node) bool {
	g := a.gossip.Load()
	if n.Session == "" || g == nil {
		return false
	}
	m, ok := g.Member(n.ID)
	return ok && m.State == gossip.Alive && m.Meta.Session == n.Session
}

// sessionAt is the session of the daemon at an address, "" if it is not that
// node's or does not answer.
func (p *peers) sessionAt(ctx context.Context, addr, id string) string {
	ctx, cancel := context.WithTimeout(ctx, holderTimeout)
	defer cancel()
	t := &http.Transport{DisableKeepAlives: true, DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return p.dial(ctx, addr, "http/1.1", id)
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/v1/health", nil)
	if err != nil {
		return ""
	}
	p.ages.sign(req) // a daemon of another age has the key as well, so its answer counts
	res, err := t.RoundTrip(req)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	var h api.Health
	if json.NewDecoder(http.MaxBytesReader(nil, res.Body, api.MaxAnswer)).Decode(&h) != nil {
		return ""
	}
	return h.Session
}

// claimAt claims a session at the node at an address, whichever it is.
func (p *peers) claimAt(ctx context.Context, addr string, c *api.SessionClaim) error {
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	t := &http.Transport{DisableKeepAlives: true, DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return p.dial(ctx, addr, "http/1.1", "")
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+"/v1/internal/claim", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := sameAge{t, p.ages, addr}.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("call the node at %s: %w", addr, err)
	}
	defer res.Body.Close()
	return api.ReadAnswer(res, nil)
}

// firstError keeps the first error that is set.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (f *firstError) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *firstError) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// lately remembers what happened in the last minute, so that a daemon that is
// started again and again does not fill the log.
type lately struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

const latelyMost = 256

func (l *lately) recently(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if at, ok := l.seen[what]; ok && now.Sub(at) < time.Minute {
		return true
	}
	if l.seen == nil || len(l.seen) >= latelyMost {
		l.seen = map[string]time.Time{}
	}
	l.seen[what] = now
	return false
}
