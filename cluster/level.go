package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus/disk"
	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
)

// levelPatience is how long all nodes have to know a level before the cluster
// is raised to it by itself: until then an upgrade can be taken back.
const levelPatience = 10 * time.Minute

// levels is what the nodes of a cluster know of levels. A node says so by
// gossip, never in the log: a voter that knows no levels must not find any
// there.
func levels(v *fsm.View, voters []string, members []gossip.Member) api.LevelStatus {
	s := api.LevelStatus{Level: int(v.Level()), Next: int(fsm.Newest)}
	newest := s.Level >= int(fsm.Newest)
	said := map[string]gossip.Member{}
	for _, m := range members {
		said[m.ID] = m
	}
	lags := func(name string) { s.Behind, s.Next = append(s.Behind, name), s.Level }
	for n := range v.Nodes() {
		if n.State == api.NodeGone {
			continue
		}
		m := said[n.ID]
		l := api.NodeLevel{Name: n.Name, Version: n.Version, Level: max(n.Level, m.Meta.Level), State: n.State, Voter: slices.Contains(voters, n.ID),
			Answers: m.ID != "" && (m.State == gossip.Alive || m.State == gossip.Suspect)}
		if m.ID != "" {
			l.Version, l.Level = m.Meta.Version, m.Meta.Level
		}
		s.Nodes = append(s.Nodes, l)
		if m.Meta.Hold {
			s.Held = append(s.Held, n.Name)
		}
		switch {
		case counts(l) && l.Level < s.Level: // it joined or came back with an older program
			lags(n.Name)
		case newest:
		case lacks(l, s.Level+1):
			lags(n.Name)
		case counts(l):
			s.Next = min(s.Next, l.Level)
		}
	}
	for _, id := range voters {
		if n := v.Node(id); !newest && (n == nil || n.State == api.NodeGone) {
			lags(id)
		}
	}
	if newest {
		s.Next = s.Level
	}
	return s
}

// counts reports whether a level needs to be known by a node; others are asked when
// they come back.
func counts(l api.NodeLevel) bool {
	return l.Voter || l.State == api.NodeReady || l.State == api.NodeDraining
}

// lacks reports whether a node keeps the cluster below a level.
func lacks(l api.NodeLevel, level int) bool { return counts(l) && (!l.Answers || l.Level < level) }

// levelRemedy says what to do so that the cluster comes to a level.
func levelRemedy(s api.LevelStatus, need int) string {
	who := slices.Clone(s.Behind)
	for _, l := range s.Nodes {
		if lacks(l, need) && !slices.Contains(who, l.Name) {
			who = append(who, l.Name)
		}
	}
	switch {
	case len(who) > 0:
		return fmt.Sprintf("upgrade mesita on %s first, or bring it back: all voters and all ready nodes have to answer and to know level %d", strings.Join(who, ", "), need)
	case len(s.Held) > 0:
		return fmt.Sprintf("all nodes know it, and %s holds it: see `mesita cluster level --release`", strings.Join(s.Held, ", "))
	}
	return "all nodes know it: it is raised by itself soon, and by `mesita cluster level --raise` at once"
}

// levelLoop raises the level of the cluster while this node leads.
type levelLoop struct {
	store  *fsm.Store
	status func() api.LevelStatus
	wake   func() <-chan struct{} // fires when gossip has news
	due    *atomic.Int64          // when it will be raised, in Unix nanoseconds; 0 = not now
	meta   func() fsm.Meta
	log    *slog.Logger

	next  int       // what all know
	since time.Time // when that began; monotonic
}

func (l *levelLoop) Run(ctx context.Context) error {
	defer l.due.Store(0)
	w := &loop.Loop{Store: l.store, Tables: []fsm.Table{fsm.TableNodes, fsm.TableCluster}, Now: time.Now, Wake: l.wake, Pass: l.pass}
	return w.Run(ctx)
}

func (l *levelLoop) pass(ctx context.Context, _ loop.Changes) time.Time {
	s := l.status()
	if s.Next <= s.Level || len(s.Held) > 0 {
		l.next = 0
		l.due.Store(0)
		return time.Time{}
	}
	now := time.Now()
	if l.next != s.Next {
		l.next, l.since = s.Next, now
		l.log.Info("all nodes know the next level of the cluster; it is raised unless `mesita cluster level --hold`", "level", s.Next, "in", levelPatience)
	}
	at := l.since.Add(levelPatience)
	l.due.Store(at.UnixNano())
	if now.Before(at) {
		return at
	}
	if err := raiseLevel(ctx, l.store, s, l.meta()); err != nil {
		l.log.Warn("raising the level of the cluster failed; trying again", "err", err)
		return now.Add(10 * time.Second)
	}
	return time.Time{}
}

func raiseLevel(ctx context.Context, store *fsm.Store, s api.LevelStatus, meta fsm.Meta) error {
	if s.Next <= s.Level {
		if s.Level >= int(fsm.Newest) {
			return api.Errorf(api.CodeConflict, "the cluster is at level %d, the highest that this mesita knows", s.Level)
		}
		return api.Errorf(api.CodeConflict, "%s", levelRemedy(s, s.Level+1))
	}
	_, err := store.Do(ctx, &fsm.LevelSet{Meta: meta, Level: fsm.Level(s.Next)})
	return err
}

// levelLoop is this node's, for as long as it leads.
func (a *Agent) levelLoop() *levelLoop {
	return &levelLoop{store: a.store, status: a.levels, wake: a.changed.wait, due: &a.levelDue, log: a.log,
		meta: func() fsm.Meta { return fsm.Meta{At: a.cfg.Now(), Actor: "level"} }}
}

func (a *Agent) levels() api.LevelStatus {
	s := levels(a.store.View(), a.raft.Voters(), a.gossip.Load().Members())
	if at := a.levelDue.Load(); at != 0 && s.Next > s.Level {
		s.At = time.Unix(0, at).UTC()
	}
	return s
}

// level is the cluster's, as far as this node knows: a worker has it from what
// the voters say. Nothing new goes to a leader that may not know it.
func (a *Agent) level() fsm.Level {
	level := a.store.View().Level()
	for _, m := range a.members() {
		if m.Meta.Voter && m.State == gossip.Alive {
			level = max(level, fsm.Level(m.Meta.Cluster))
		}
	}
	return level
}

// knows reports whether a node may vote: one below the level of the cluster
// could not read the log.
func (a *Agent) knows(id string) bool {
	for _, m := range a.gossip.Load().Members() {
		if m.ID == id {
			return m.Meta.Level >= int(a.store.View().Level())
		}
	}
	return id == a.self.NodeID
}

// tellLevel keeps what this node says of the cluster's level up to date.
func (a *Agent) tellLevel(ctx context.Context) error {
	w := a.store.Watch(fsm.TableCluster)
	defer w.Close()
	for {
		if _, _, err := w.Wait(ctx); err != nil {
			return nil
		}
		a.tell()
	}
}

// holdFile says that this node was told to hold the level. It is the node's
// own: in a cluster of level 0 there is no command for it. One node that holds
// is enough.
const holdFile = "level.hold"

func (a *Agent) loadHold() error {
	_, err := os.Stat(a.dir.File(holdFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	a.holds.Store(err == nil)
	return nil
}

func (a *Agent) holdLevel(hold bool) error {
	if hold {
		if err := disk.WriteFile(a.dir.File(holdFile), nil, 0o600); err != nil {
			return err
		}
	} else if err := os.Remove(a.dir.File(holdFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := disk.SyncDir(a.dir.Path); err != nil {
		return err
	}
	a.holds.Store(hold)
	a.tell()
	a.changed.notify()
	return nil
}

func (m members) Level() api.LevelStatus { return m.levels() }

func (m members) HoldLevel(hold bool) error { return m.holdLevel(hold) }

// SetLevel does what was asked for, at the leader, which tells the others. One
// that cannot be told to continue is named in the answer: it holds still.
func (m members) SetLevel(ctx context.Context, r api.LevelRequest, actor string) (api.LevelStatus, error) {
	if r.Raise {
		if err := raiseLevel(ctx, m.store, m.levels(), fsm.Meta{At: m.cfg.Now(), Actor: actor}); err != nil {
			return api.LevelStatus{}, err
		}
	}
	if r.Hold == nil {
		return m.levels(), nil
	}
	if err := m.holdLevel(*r.Hold); err != nil {
		return api.LevelStatus{}, fmt.Errorf("remember it on %s: %w", m.self.Name, err)
	}
	s := m.levels()
	for _, p := range m.gossip.Load().Members() {
		if p.ID == m.self.NodeID || p.Meta.Level == 0 || p.State != gossip.Alive && !p.Meta.Hold || p.Meta.Hold == *r.Hold {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		err := m.peers.call(ctx, p.ID, http.MethodPost, "/v1/internal/level", api.LevelRequest{Hold: r.Hold}, nil)
		cancel()
		if err != nil {
			m.log.Warn("a node was not told about the level", "node", p.Name, "err", err)
			continue
		}
		s.Held = slices.DeleteFunc(s.Held, func(name string) bool { return name == p.Name })
		if *r.Hold {
			s.Held = append(s.Held, p.Name)
		}
	}
	if *r.Hold {
		s.At = time.Time{}
	}
	return s, nil
}
