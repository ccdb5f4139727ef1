package cluster

import (
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus/disk"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
)

// levelWorld is a cluster of the nodes a, b, c and d at level 0, as gossip and
// the state see it; a, b and c vote.
type levelWorld struct {
	store   *fsm.Store
	members []gossip.Member
}

func newLevelWorld(t *testing.T) *levelWorld {
	t.Helper()
	w := &levelWorld{store: fsm.NewStore(nil)}
	meta := fsm.Meta{At: time.Unix(1000, 0)}
	cmds := []fsm.Command{&fsm.ClusterInit{Meta: meta, Cluster: &api.Cluster{ID: "c"}, Authority: &api.Authority{}, Node: &api.Node{ID: "a", Name: "a"}},
		&fsm.TokenCreate{Meta: meta, Token: &api.Token{ID: "t", Kind: api.TokenJoin, Hash: "h"}}}
	for _, id := range []string{"a", "b", "c", "d"} {
		if id != "a" {
			cmds = append(cmds, &fsm.NodeJoin{Meta: meta, Token: "t", Hash: "h", NodeID: id, Name: id})
		}
		cmds = append(cmds, &fsm.NodeHello{Meta: meta, ID: id, Hello: api.NodeHello{Addr: id + ":1", Version: "new"}})
		w.members = append(w.members, gossip.Member{ID: id, Name: id, State: gossip.Alive, Meta: gossip.Meta{ID: id, Name: id, Level: 1, Version: "new"}})
	}
	res, err := w.store.Propose(t.Context(), cmds...)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range res {
		if r.Err != nil {
			t.Fatal(i, r.Err)
		}
	}
	return w
}

func (w *levelWorld) status() api.LevelStatus {
	return levels(w.store.View(), []string{"a", "b", "c"}, w.members)
}

func (w *levelWorld) member(id string) *gossip.Member {
	return &w.members[slices.IndexFunc(w.members, func(m gossip.Member) bool { return m.ID == id })]
}

func (w *levelWorld) state(t *testing.T, id string, s api.NodeState) {
	t.Helper()
	if _, err := w.store.Do(t.Context(), &fsm.NodeState{Meta: fsm.Meta{At: time.Unix(2000, 0)}, ID: id, State: s, Since: w.store.View().Node(id).Since}); err != nil {
		t.Fatal(err)
	}
}

// Above the last raise a node is named only if it is older: one that does not
// answer keeps nothing back.
func TestWhoIsOlderThanTheLevel(t *testing.T) {
	for name, change := range map[string]func(*levelWorld){
		"":  func(w *levelWorld) { w.member("c").State = gossip.Failed },
		"d": func(w *levelWorld) { w.member("d").Meta.Level = 0 },
	} {
		w := newLevelWorld(t)
		if _, err := w.store.Do(t.Context(), &fsm.LevelSet{Meta: fsm.Meta{At: time.Unix(1500, 0)}, Level: fsm.Newest}); err != nil {
			t.Fatal(err)
		}
		for i := range w.members {
			w.members[i].Meta.Level = int(fsm.Newest)
		}
		change(w)
		if s := w.status(); strings.Join(s.Behind, ",") != name || s.Next != int(fsm.Newest) {
			t.Errorf("next %d, behind %v, want %q", s.Next, s.Behind, name)
		}
	}
}

// All voters and all ready nodes have to know a level; of others nobody asks.
func TestWhoHasToKnowALevel(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*levelWorld)
		next   int
		behind string
		held   string
	}{
		{"all know it", func(*levelWorld) {}, 1, "", ""},
		{"a voter is old", func(w *levelWorld) { w.member("b").Meta.Level = 0 }, 0, "b", ""},
		{"a worker is old", func(w *levelWorld) { w.member("d").Meta.Level = 0 }, 0, "d", ""},
		{"two are old", func(w *levelWorld) { w.member("a").Meta.Level, w.member("d").Meta.Level = 0, 0 }, 0, "a,d", ""},
		{"a voter does not answer", func(w *levelWorld) { w.member("c").State = gossip.Failed }, 0, "c", ""},
		{"a voter left for a moment", func(w *levelWorld) { w.member("c").State = gossip.Left }, 0, "c", ""},
		{"a voter that is down counts", func(w *levelWorld) { w.state(t, "c", api.NodeDown); w.member("c").State = gossip.Left }, 0, "c", ""},
		{"a worker that is down does not", func(w *levelWorld) { w.state(t, "d", api.NodeDown); w.member("d").Meta.Level = 0 }, 1, "", ""},
		{"gossip knows nothing of a voter", func(w *levelWorld) { w.members = w.members[1:] }, 0, "a", ""},
		{"one knows more than this program", func(w *levelWorld) { w.member("a").Meta.Level = 9 }, 1, "", ""},
		{"one holds", func(w *levelWorld) { w.member("b").Meta.Hold = true }, 1, "", "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newLevelWorld(t)
			c.change(w)
			s := w.status()
			if s.Next != c.next || strings.Join(s.Behind, ",") != c.behind || strings.Join(s.Held, ",") != c.held {
				t.Errorf("next %d, behind %v, held by %v", s.Next, s.Behind, s.Held)
			}
		})
	}
}

// What a level lacks is refused with the names of the nodes that keep it back,
// and with what to do when none does.
func TestRefusalsNameTheNodes(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*levelWorld)
		want   string
	}{
		{"two are old", func(w *levelWorld) { w.member("b").Meta.Level, w.member("d").Meta.Level = 0, 0 }, "upgrade mesita on b, d first"},
		{"a voter does not answer", func(w *levelWorld) { w.member("c").State = gossip.Failed }, "upgrade mesita on c first, or bring it back"},
		{"one holds", func(w *levelWorld) { w.member("b").Meta.Hold = true }, "b holds it: see `mesita cluster level --release`"},
		{"all know it", func(*levelWorld) {}, "`mesita cluster level --raise` at once"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newLevelWorld(t)
			c.change(w)
			w.store.SetLevelRemedy(func(need fsm.Level) string { return levelRemedy(w.status(), int(need)) })
			spec := &api.JobSpec{Name: "web", Kind: api.KindBatch, TaskSpec: api.TaskSpec{Command: []string{"x"}}, AtMostOnce: true}
			if _, err := w.store.Do(t.Context(), &fsm.JobCreate{Spec: spec}); api.ErrorCode(err) != api.CodeConflict ||
				!strings.Contains(err.Error(), "spec.atMostOnce needs level 1 of the cluster, which is at level 0: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
	w := newLevelWorld(t)
	if got := levelRemedy(w.status(), 2); !strings.Contains(got, "upgrade mesita on a, b, c, d first") {
		t.Errorf("nobody knows level 2: %s", got)
	}
}

// The level rises ten minutes after the last node came to know it, not before,
// and not while a node holds it.
func TestLevelRisesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLevelWorld(t)
		var news signal
		var due atomic.Int64
		l := &levelLoop{store: w.store, status: w.status, wake: news.wait, due: &due, log: slog.New(slog.DiscardHandler),
			meta: func() fsm.Meta { return fsm.Meta{At: time.Now()} }}
		step := func(after time.Duration, change func(), want fsm.Level) {
			t.Helper()
			time.Sleep(after) // fake
			synctest.Wait()
			if got := w.store.View().Level(); got != want {
				t.Fatalf("level %d, want %d", got, want)
			}
			change()
			news.notify()
			synctest.Wait()
		}
		w.member("d").Meta.Level = 0
		done := make(chan struct{})
		go func() { defer close(done); _ = l.Run(t.Context()) }()
		step(20*time.Minute, func() { w.member("d").Meta.Level = 1 }, 0)
		step(9*time.Minute, func() { w.member("b").State = gossip.Failed }, 0) // restarts: back to an older one?
		step(time.Minute, func() { w.member("b").State = gossip.Alive }, 0)
		step(9*time.Minute, func() { w.member("a").Meta.Hold = true }, 0)
		step(time.Hour, func() { w.member("a").Meta.Hold = false }, 0)
		step(9*time.Minute, func() {}, 0)
		if due.Load() == 0 {
			t.Error("nobody is told when")
		}
		step(2*time.Minute, func() {}, 1)
		if due.Load() != 0 {
			t.Error("it is due still")
		}
	})
}

// A node that does not know the level of the cluster gets no vote.
func TestNodeBelowTheLevelIsNotPromoted(t *testing.T) {
	nodes, alive := someNodes(4, "", time.Time{})
	able := func(id string) bool { return id != "b" }
	if got := nextOf(nodes, "a", alive, able, time.Unix(1000, 0)); got.add != "c" {
		t.Errorf("%+v", got)
	}
}

// The hold outlives the daemon.
func TestHoldIsKept(t *testing.T) {
	dir := &datadir.Dir{Path: t.TempDir()}
	a := &Agent{dir: dir}
	if err := a.loadHold(); err != nil || a.holds.Load() {
		t.Fatalf("a new folder holds: %v", err)
	}
	if err := disk.WriteFile(dir.File(holdFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.loadHold(); err != nil || !a.holds.Load() {
		t.Errorf("the hold is forgotten: %v", err)
	}
}
