package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
)

// caWorld is a cluster in memory with a real authority, and nodes that say by
// gossip which step they have done.
type caWorld struct {
	t     *testing.T
	store *fsm.Store
	steps map[string]uint64
	raft  []consensus.Server // who gets the log
}

func newCAWorld(t *testing.T, level fsm.Level, nodes ...string) *caWorld {
	t.Helper()
	w := &caWorld{t: t, store: fsm.NewStore(nil), steps: map[string]uint64{}}
	ca, err := tlsconf.NewCA("pine", "c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.do(&fsm.ClusterInit{Level: level, Cluster: &api.Cluster{ID: "c1", Name: "pine"},
		Authority: &api.Authority{CACert: ca.CertPEM(), CAKey: ca.KeyPEM(), Pin: ca.Pin(), GossipKey: bytes.Repeat([]byte{1}, 32)}, Node: &api.Node{ID: nodes[0], Name: nodes[0]}})
	w.do(&fsm.TokenCreate{Token: &api.Token{ID: "t", Kind: api.TokenJoin, Hash: "h"}})
	for i, id := range nodes {
		if i > 0 {
			w.do(&fsm.NodeJoin{Token: "t", Hash: "h", NodeID: id, Name: id})
		}
		w.do(&fsm.NodeHello{ID: id, Hello: api.NodeHello{Addr: "x:1", Level: int(level), Resources: api.Resources{CPUs: 1}}})
	}
	return w
}

func (w *caWorld) do(c fsm.Command) {
	w.t.Helper()
	if _, err := w.store.Do(w.t.Context(), c); err != nil {
		w.t.Fatalf("%T: %v", c, err)
	}
}

func (w *caWorld) members() (out []gossip.Member) {
	for id, step := range w.steps {
		out = append(out, gossip.Member{ID: id, Meta: gossip.Meta{ID: id, CA: step}})
	}
	return out
}

// pass is one of a leader that was just elected, and is the step after it.
func (w *caWorld) pass() uint64 {
	w.t.Helper()
	l := &caLoop{store: w.store, members: w.members, wall: time.Now, log: slog.New(slog.DiscardHandler), meta: func() fsm.Meta { return fsm.Meta{Actor: "ca"} },
		raft: func() ([]consensus.Server, error) { return w.raft, nil }}
	l.pass(w.t.Context(), loop.Changes{})
	return w.store.View().Authority().CAStep
}

func (w *caWorld) begin() {
	w.t.Helper()
	cmd, err := newCA(w.store.View(), time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	w.do(cmd)
}

// The key of the CA changes one step at a time, each once all nodes that are there
// have done the one before; whoever leads continues from where it is. A node that
// is away is not waited for, and is named.
func TestTheCAChangesInSteps(t *testing.T) {
	w := newCAWorld(t, fsm.Newest, "a", "b", "away", "gone")
	v := w.store.View()
	w.do(&fsm.NodeState{ID: "away", State: api.NodeDown, Since: v.Node("away").Since})
	w.do(&fsm.NodeRemove{ID: "gone"})
	if w.pass() != 0 {
		t.Error("the key changes for nothing")
	}
	for round := range uint64(2) {
		before := w.store.View().Authority()
		w.begin()
		for step := 3*round + 1; step < 3*round+3; step++ {
			for _, done := range []string{"", "a"} {
				if done != "" {
					w.steps[done] = step
				}
				if got := w.pass(); got != step {
					t.Fatalf("step %d is left for %d while only %q has done it", step, got, done)
				}
			}
			s := caStatus(w.store.View(), w.members())
			if s.Phase == "" || !slices.Equal(s.Waiting, []string{"b"}) || !slices.Equal(s.Away, []string{"away"}) {
				t.Errorf("step %d: %+v", step, s)
			}
			w.steps["b"] = step
			if got := w.pass(); got != step+1 {
				t.Fatalf("at step %d, not %d, once all have done it", got, step+1)
			}
		}
		after := w.store.View().Authority()
		if bytes.Equal(before.CAKey, after.CAKey) || after.CANext != nil || after.CANextKey != nil || before.Pin == after.Pin || caStatus(w.store.View(), nil).Phase != "" {
			t.Errorf("round %d: %+v", round, after)
		}
		if _, err := tlsconf.LoadCA(after.CACert, after.CAKey); err != nil {
			t.Error(err)
		}
		if pin, err := tlsconf.FollowPin(after.CAs(), before.Pin); err != nil || pin != after.Pin {
			t.Errorf("a token of before leads to %s: %v", pin, err)
		}
	}
}

// The key changes by itself, once, when a node that may vote is removed by force or
// demoted: not for a worker, nor by what is asked for without force, and not before
// that node gets the log no more, in which the new key is. If it happens while a
// change is under way, whose next key that node may know, another follows.
func TestTheCAChangesForWhoVotesNoMore(t *testing.T) {
	for name, c := range map[string]struct {
		level fsm.Level
		cmd   fsm.Command
		rolls bool
	}{
		"removed by force": {fsm.Newest, &fsm.NodeRemove{ID: "c", Force: true}, true}, "demoted": {fsm.Newest, &fsm.NodeDemote{ID: "c"}, true},
		"removed": {fsm.Newest, &fsm.NodeRemove{ID: "c"}, false}, "a worker": {fsm.Newest, &fsm.NodeRemove{ID: "worker", Force: true}, false},
		"at level 3": {3, &fsm.NodeRemove{ID: "c", Force: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, midway := range []bool{false, true} {
				if midway && c.level < fsm.Newest {
					continue
				}
				w := newCAWorld(t, c.level, "a", "b", "c")
				w.do(&fsm.TokenCreate{Token: &api.Token{ID: "w", Kind: api.TokenJoin, Hash: "h", WorkerOnly: c.level > 2}})
				w.do(&fsm.NodeJoin{Token: "w", Hash: "h", NodeID: "worker", Name: "worker"})
				w.raft = []consensus.Server{{ID: "a", Voter: true}, {ID: "b", Voter: true}, {ID: "c", Voter: true}}
				want := uint64(0)
				if midway {
					w.begin()
					want = 3
				}
				w.do(c.cmd)
				for range 9 { // all do what they are told
					for _, n := range []string{"a", "b", "c"} {
						w.steps[n] = w.store.View().Authority().CAStep
					}
					w.pass()
				}
				if got := w.store.View().Authority().CAStep; got != want {
					t.Errorf("midway %v: at step %d, not %d, while that node gets the log", midway, got, want)
				}
				w.raft = w.raft[:2]
				if c.rolls {
					want += 3
				}
				for range 9 {
					for _, n := range []string{"a", "b", "c"} {
						w.steps[n] = w.store.View().Authority().CAStep
					}
					w.pass()
				}
				if got := w.store.View().Authority().CAStep; got != want {
					t.Errorf("midway %v: at step %d, not %d", midway, got, want)
				}
			}
		})
	}
}

// Nobody begins a change by hand either while who is to vote no more gets the log.
func TestTheNextKeyIsNotForTheDemoted(t *testing.T) {
	w := newCAWorld(t, fsm.Newest, "a", "b", "c")
	w.do(&fsm.NodeDemote{ID: "c"})
	members := func() ([]consensus.Server, error) { return []consensus.Server{{ID: "a"}, {ID: "c"}}, nil }
	if err := mayBeginCA(w.store.View(), members); api.ErrorCode(err) != api.CodeConflict || !strings.Contains(err.Error(), "node c would still get") {
		t.Error(err)
	}
}

// A change that is decided on before another node is demoted, and comes to the log after
// that, does not begin: that node gets the log still. The next begins once it does not.
func TestADemotionAsAChangeBegins(t *testing.T) {
	w := newCAWorld(t, fsm.Newest, "a", "b", "c", "d")
	w.raft = []consensus.Server{{ID: "a", Voter: true}, {ID: "b", Voter: true}, {ID: "c", Voter: true}}
	w.do(&fsm.NodeDemote{ID: "d"})
	decided, err := newCA(w.store.View(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.do(&fsm.NodeDemote{ID: "c"})
	if _, err := w.store.Do(t.Context(), decided); api.ErrorCode(err) != api.CodeConflict {
		t.Error(err)
	}
	if step := w.pass(); step != 0 {
		t.Errorf("step %d while a demoted node gets the log", step)
	}
	w.raft = w.raft[:2]
	if step := w.pass(); step != 1 {
		t.Errorf("step %d once it does not", step)
	}
}

// While a node is there whose program does not know how, or a change is under way,
// none is begun.
func TestTheCAIsNotChanged(t *testing.T) {
	for _, c := range []struct {
		level fsm.Level
		do    func(*caWorld)
		want  string
	}{
		{3, func(*caWorld) {}, "needs level 4"},
		{fsm.Newest, func(w *caWorld) {
			w.do(&fsm.NodeHello{ID: "b", Hello: api.NodeHello{Addr: "x:2", Level: 3, Resources: api.Resources{CPUs: 1}}, Outdated: true})
		}, "node b does not know how the key of the CA is changed: upgrade it first"},
		{fsm.Newest, (*caWorld).begin, "is being changed"},
	} {
		w := newCAWorld(t, c.level, "a", "b")
		c.do(w)
		a := agentIn(t, datadir.Node{NodeID: "a", Name: "a"})
		a.store = w.store
		step := w.store.View().Authority().CAStep
		_, err := members{a}.RotateCA(t.Context(), "admin")
		if api.ErrorCode(err) != api.CodeConflict || !strings.Contains(err.Error(), c.want) || w.store.View().Authority().CAStep != step {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// follower is a node that has a certificate of the world's authority.
func (w *caWorld) follower(key *tlsconf.NodeKey) *Agent {
	w.t.Helper()
	a := agentIn(w.t, datadir.Node{NodeID: key.ID(), Name: "fir"})
	a.files = tlsconf.Files{Dir: a.dir.Path}
	auth := w.store.View().Authority()
	err := a.files.SaveKey(key)
	if err == nil {
		err = a.files.SaveCA(auth.CACert)
	}
	if err == nil {
		err = a.files.SaveCert(w.sign(key))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.start(a)
	return a
}

// start loads what is on a node's disk, as a start does.
func (w *caWorld) start(a *Agent) {
	w.t.Helper()
	self, err := a.dir.Load()
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := a.files.LoadKey()
	if err != nil {
		w.t.Fatal(err)
	}
	a.self = self
	if err := a.loadCertificates(key); err != nil {
		w.t.Fatal(err)
	}
	a.peers = newPeers(a.certs, nil, nil, func() {})
}

// sign is a certificate of the key that signs now.
func (w *caWorld) sign(key *tlsconf.NodeKey) []byte {
	w.t.Helper()
	auth := w.store.View().Authority()
	ca, err := tlsconf.LoadCA(auth.CACert, auth.CAKey)
	if err != nil {
		w.t.Fatal(err)
	}
	csr, err := key.CSR()
	if err != nil {
		w.t.Fatal(err)
	}
	cert, err := ca.Sign(csr, tlsconf.NodeIdentity{ID: key.ID(), Name: "fir", ClusterID: "c1"}, time.Now(), time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return cert
}

// A node does the steps in order, whichever it hears of: it trusts a new key, and
// drops an old one only once it has a certificate of another. Killed at any point
// it starts with what it has, and continues.
func TestANodeFollowsTheCA(t *testing.T) {
	for _, missed := range []int{0, 1, 2, 3, 6} { // how many steps go by before it hears of any
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprint(missed, killed), func(t *testing.T) {
				w := newCAWorld(t, fsm.Newest, "a")
				key, err := tlsconf.NewNodeKey()
				if err != nil {
					t.Fatal(err)
				}
				a := w.follower(key)
				for n := 1; n <= 6; n++ {
					if n%3 == 1 {
						w.begin()
					} else {
						w.do(&fsm.CARotate{Step: uint64(n - 1)})
					}
					if n <= missed-1 {
						continue
					}
					w.follow(a, key, killed)
				}
				auth := w.store.View().Authority()
				if pem, err := a.files.LoadCA(); err != nil || !bytes.Equal(bytes.TrimSpace(pem), bytes.TrimSpace(auth.CACert)) || a.caStep() != 6 || !a.certs.SignedBy(auth.CACert) {
					t.Errorf("after all: step %d, %v", a.caStep(), err)
				}
			})
		}
	}
}

// follow has a node do the newest step, from what it says to what the rotator does.
func (w *caWorld) follow(a *Agent, key *tlsconf.NodeKey, killed bool) {
	w.t.Helper()
	r := w.store.View().Authority().CAs()
	if _, err := a.certs.Follow(r); err != nil {
		w.t.Fatalf("step %d cannot be followed: %v", r.Step, err)
	}
	for try := 0; !a.takeCA(r); try++ {
		if a.caStep() >= r.Step || try == 1 {
			w.t.Fatalf("step %d is not done", r.Step)
		}
		if killed {
			w.start(a)
		}
		cert := w.sign(key) // the rotator asks for one
		if err := a.certs.Swap(cert); err != nil {
			w.t.Fatal(err)
		}
		if !killed { // else it is not saved
			if err := a.files.SaveCert(cert); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if killed {
		w.start(a)
	}
	if !a.takeCA(r) || a.caStep() != r.Step {
		w.t.Errorf("step %d is not done at the next start: %d", r.Step, a.caStep())
	}
	back := *r
	if back.Step--; !a.takeCA(&back) || a.caStep() != r.Step {
		w.t.Errorf("a node goes back from step %d to %d", r.Step, a.caStep())
	}
}

// A node that was off for a change meets a certificate that it does not know, asks
// whoever is at the addresses that it has, and believes what its own key leads
// to.
func TestWhoWasOffAsks(t *testing.T) {
	w := newCAWorld(t, fsm.Newest, "a")
	key, err := tlsconf.NewNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	a := w.follower(key)
	w.begin()
	w.do(&fsm.CARotate{Step: 1})
	w.do(&fsm.CARotate{Step: 2})
	foreign := newCAWorld(t, fsm.Newest, "x")
	foreign.begin()
	answer := func(r *api.CARoots) string {
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r2 *http.Request) {
			if r2.URL.Path != "/v1/ca" {
				t.Errorf("asked for %s", r2.URL)
			}
			_ = json.NewEncoder(w).Encode(r) // who is sent an answer without end hangs up
		}))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	a.cfg.Seeds = []string{answer(foreign.store.View().Authority().CAs())}
	if a.learnCA(t.Context()) || a.ca.heard.Load() != nil {
		t.Error("another cluster's key is believed")
	}
	// Whoever answers may lie about all that no key has signed.
	lie := w.store.View().Authority().CAs()
	lie.Step = math.MaxUint64
	huge := w.store.View().Authority().CAs()
	huge.Past = append(huge.Past, api.PastCA{Cert: bytes.Repeat([]byte{'x'}, 1<<20)})
	a.cfg.Seeds = append(a.cfg.Seeds, answer(huge))
	if _, err := tlsconf.AskCA(t.Context(), a.cfg.Seeds[1]); err == nil || a.learnCA(t.Context()) {
		t.Errorf("an answer without end is read: %v", err)
	}
	was := a.certs.RootsPEM()
	a.cfg.Seeds = append(a.cfg.Seeds, answer(lie))
	if !a.learnCA(t.Context()) || a.learnCA(t.Context()) {
		t.Error("it does not follow, or for ever")
	}
	if !bytes.HasPrefix(a.certs.RootsPEM(), was) || !bytes.Contains(a.certs.RootsPEM(), lie.Cert[0]) || a.knownCA() != nil || a.caStep() != 0 {
		t.Errorf("it follows to step %d, and knows %+v", a.caStep(), a.knownCA())
	}
	// What a voter tells then counts, and the next change.
	for n := 3; n <= 6; n++ {
		if n == 4 {
			w.begin()
		} else if n > 4 {
			w.do(&fsm.CARotate{Step: uint64(n - 1)})
		}
		w.follow(a, key, false)
	}
	if auth := w.store.View().Authority(); a.caStep() != 6 || !bytes.Equal(bytes.TrimSpace(a.certs.RootsPEM()), bytes.TrimSpace(auth.CACert)) {
		t.Errorf("after the next change: step %d", a.caStep())
	}
}

// A node without the state passes a question for the CA's keys on once: two such
// nodes would else send it back and forth.
func TestTheCAIsAskedForOnce(t *testing.T) {
	ca, err := tlsconf.NewCA("pine", "c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	elm, id := holderOf(t, ca, "elm")
	var asked []string
	addr := serveAs(t, elm, guardOf(first).tell(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("relayed"))
		_ = json.NewEncoder(w).Encode(api.CARoots{Step: 3}) // the caller sees it
	})))
	a := alone(t, 3)
	a.certs, _ = holderOf(t, ca, "oak")
	a.peers = newPeers(a.certs, func(string) (string, bool) { return addr, true }, guardOf(first), func() {})
	defer a.peers.close()
	a.leader.id, a.leader.asked = id, time.Now().Add(time.Hour)
	if r, err := (members{a}).CAs(t.Context(), false); err != nil || r.Step != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := (members{a}).CAs(t.Context(), true); api.ErrorCode(err) != api.CodeUnavailable || !slices.Equal(asked, []string{"1"}) {
		t.Errorf("asked %q: %v", asked, err)
	}
}

// A join token of before leads to the node with the new key, and not to one whose
// key the old one has not signed: that never sees the secret.
func TestAJoinTokenOfBefore(t *testing.T) {
	w := newCAWorld(t, fsm.Newest, "a")
	pin := w.store.View().Authority().Pin
	w.begin()
	w.do(&fsm.CARotate{Step: 1})
	w.do(&fsm.CARotate{Step: 2})
	for _, known := range []bool{true, false} {
		shows := w
		if !known {
			shows = newCAWorld(t, fsm.Newest, "x")
		}
		key, err := tlsconf.NewNodeKey()
		if err != nil {
			t.Fatal(err)
		}
		node := shows.follower(key)
		asked := 0
		srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/ca" {
				_ = json.NewEncoder(rw).Encode(w.store.View().Authority().CAs()) // the client sees it
				return
			}
			asked++
			_ = json.NewEncoder(rw).Encode(api.JoinGrant{Cluster: &api.Cluster{}, GossipKey: []byte("k")})
		})}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go srv.Serve(tls.NewListener(l, node.certs.ServerConfig([]string{"http/1.1"})))
		_, err = joinAt(context.Background(), l.Addr().String(), pin, &api.JoinRequest{Token: "id.secret"})
		srv.Close()
		if (err == nil) != known || (asked == 1) != known || !known && api.ErrorCode(err) != api.CodeNotAllowed {
			t.Errorf("known %v: %v, asked %d", known, err, asked)
		}
	}
}
