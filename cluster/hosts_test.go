package cluster

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/datadir"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
)

// A certificate names each way to its node by which clients are told to come, and
// nothing that no authority would sign.
func TestHostsOfANode(t *testing.T) {
	for _, c := range []struct {
		advertised, listen, machine string
		want                        []string
	}{
		{"10.0.0.11:5050", "0.0.0.0:5050", "oak", []string{"10.0.0.11", "oak"}},
		{"10.0.0.11:5050", "[::]:5050", "Oak.example.com.", []string{"10.0.0.11", "oak.example.com", "oak"}},
		{"203.0.113.5:7000", "10.0.0.11:5050", "oak", []string{"203.0.113.5", "10.0.0.11", "oak"}},
		{"[fd00::5]:5050", "[fd00:0:0::5]:5050", "oak", []string{"fd00::5", "oak"}},
		{"127.0.0.1:40001", "127.0.0.1:40001", "localhost", nil},
		{"10.0.0.11:5050", "10.0.0.11:5050", "my_machine", []string{"10.0.0.11"}},
		{"10.0.0.11:5050", "10.0.0.11:5050", "", []string{"10.0.0.11"}},
		{"10.0.0.11:5050", "10.0.0.11:5050", "x.node.mesita", []string{"10.0.0.11", "x"}},
	} {
		want := append([]string{"localhost", "127.0.0.1", "::1"}, c.want...)
		got := hostsOf(c.advertised, c.listen, c.machine)
		if !slices.Equal(got, want) {
			t.Errorf("%s, %s, %q: %q, want %q", c.advertised, c.listen, c.machine, got, want)
		}
		key, err := tlsconf.NewNodeKey()
		if err != nil {
			t.Fatal(err)
		}
		csr, err := key.CSR()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newTestCA(t, "pine").Sign(csr, tlsconf.NodeIdentity{ID: key.ID(), Name: "oak", ClusterID: "c1", Hosts: got}, time.Now(), time.Hour); err != nil {
			t.Errorf("%q: %v", got, err)
		}
	}
}

// Who signs names an address only where it meets the node's own key: a node that
// tells another's address, or one where something else is, gets no certificate
// that passes for it.
func TestANodeIsNamedWhereItWasMet(t *testing.T) {
	ca := newTestCA(t, "pine")
	signer, oak, evil := heldNode(t, ca, "ash"), heldNode(t, ca, "oak"), heldNode(t, ca, "evil")
	oakAt := serveNode(t, oak, "127.0.0.2:0", nil)
	strangeAt := serveNode(t, heldNode(t, newTestCA(t, "fig"), "oak"), "127.0.0.3:0", nil)
	shut, err := net.Listen("tcp", "127.0.0.4:0")
	if err != nil {
		t.Fatal(err)
	}
	shutAt := shut.Addr().String()
	if err := shut.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, id, tells string
		address         string // that is named
	}{
		{"where it is", oak.ID(), oakAt, "127.0.0.2"},
		{"where each is", oak.ID(), "127.0.0.1:5050", ""}, // as it is named so anyhow
		{"where another node is", evil.ID(), oakAt, ""},
		{"where a node of another cluster is", evil.ID(), strangeAt, ""},
		{"where nobody is", evil.ID(), shutAt, ""},
		{"no address", evil.ID(), "", ""},
		{"a name", evil.ID(), "intranet.example.com:443", ""},
		{"every address", evil.ID(), "0.0.0.0:5050", ""},
	} {
		got, err := newPeers(signer, nil, nil, func() {}).hostsOf(t.Context(), c.id, []string{c.tells}, nil)
		want := slices.Clone(everyHost)
		if c.address != "" {
			want = append(want, c.address)
		}
		if !slices.Equal(got, want) {
			t.Errorf("a node that tells %s is named %q, want %q (%v)", c.name, got, want, err)
		}
	}
}

// A certificate is good for all ports of an address: a node that listens on another
// node's machine, as its tasks and the users of that machine may, shows its own key
// there and still gets none that passes for that node. It does not matter whether
// the state tells where the other is, or gossip, or the other is the signer.
func TestANodeIsNotNamedWhereAnotherOneIs(t *testing.T) {
	ca := newTestCA(t, "pine")
	ash, oak, evil, old := heldNode(t, ca, "ash"), heldNode(t, ca, "oak"), heldNode(t, ca, "evil"), heldNode(t, ca, "old")
	oakAt, onAsh, onOak, alone := serveNode(t, oak, "127.0.0.2:0", nil), serveNode(t, evil, "127.0.0.5:0", nil), serveNode(t, evil, "127.0.0.2:0", nil), serveNode(t, evil, "127.0.0.6:0", nil)
	w := &caWorld{t: t, store: fsm.NewStore(nil)}
	w.do(&fsm.ClusterInit{Level: fsm.Newest, Cluster: &api.Cluster{ID: "c1", Name: "pine"}, Authority: &api.Authority{Pin: "p"}, Node: &api.Node{ID: ash.ID(), Name: "ash"}})
	w.do(&fsm.TokenCreate{Token: &api.Token{ID: "t", Kind: api.TokenJoin, Hash: "h"}})
	tells := func(id, addr string) {
		w.do(&fsm.NodeHello{ID: id, Hello: api.NodeHello{Addr: addr, Level: int(fsm.Newest), Resources: api.Resources{CPUs: 1}}})
	}
	for name, h := range map[string]*tlsconf.Holder{"oak": oak, "evil": evil, "old": old} {
		w.do(&fsm.NodeJoin{Token: "t", Hash: "h", NodeID: h.ID(), Name: name})
	}
	tells(old.ID(), alone)
	w.do(&fsm.NodeRemove{ID: old.ID()}) // another may have its address then
	a := agentIn(t, datadir.Node{NodeID: ash.ID(), Name: "ash"})
	a.store, a.addr, a.peers = w.store, "127.0.0.5:5050", newPeers(ash, nil, nil, func() {})
	named := func(h *tlsconf.Holder, ip string) bool { return slices.Contains(a.hostsFor(t.Context(), h.ID()), ip) }

	tells(oak.ID(), oakAt)
	for _, addr := range []string{onOak, onAsh} {
		tells(evil.ID(), addr)
		if ip := addressOf(addr); named(evil, ip) {
			t.Errorf("a node that listens at %s is named so, where another one is", ip)
		}
	}
	tells(evil.ID(), alone)
	if !named(evil, "127.0.0.6") || !named(oak, "127.0.0.2") {
		t.Errorf("nodes that are alone at their addresses are not named: %q, %q", a.hostsFor(t.Context(), evil.ID()), a.hostsFor(t.Context(), oak.ID()))
	}

	moved := []gossip.Member{{ID: oak.ID(), Addr: "[::ffff:10.0.0.7]:1", State: gossip.Failed}, {ID: evil.ID(), Addr: "10.0.0.7:2"}, {ID: old.ID(), Addr: "10.0.0.8:3"}}
	own, others := whereabouts(w.store.View(), moved, evil.ID())
	if want := []string{alone, "10.0.0.7:2"}; !slices.Equal(own, want) {
		t.Errorf("it is looked for at %q, want %q", own, want)
	}
	slices.Sort(others)
	if others = slices.DeleteFunc(others, func(ip string) bool { return ip == "" }); !slices.Equal(others, []string{"10.0.0.7", "127.0.0.2"}) {
		t.Errorf("others are at %q: those that were removed are nowhere, those that do not answer where they were", others)
	}
}

// A node that moved is looked for where its hello says that it is, and where gossip
// does, of which either may be old.
func TestANodeIsLookedForWhereverItTells(t *testing.T) {
	ca := newTestCA(t, "pine")
	ash, oak := heldNode(t, ca, "ash"), heldNode(t, ca, "oak")
	at, gone := serveNode(t, oak, "127.0.0.2:0", nil), serveNode(t, heldNode(t, ca, "elm"), "127.0.0.3:0", nil)
	for _, own := range [][]string{{at, gone}, {gone, at}} {
		got, err := newPeers(ash, nil, nil, func() {}).hostsOf(t.Context(), oak.ID(), own, nil)
		if err != nil || !slices.Contains(got, "127.0.0.2") || slices.Contains(got, "127.0.0.3") {
			t.Errorf("%q (%v)", got, err)
		}
	}
}

// A node whose address the signer does not name asks once, and not again before what
// it lacks or who signs is another: its disk is quiet, and its start waits for no
// certificate after the first.
func TestANodeAsksOnceForItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var renewed signal
		var mu sync.Mutex
		lacks, signer, asked := "10.0.0.5", "ash", 0
		n := &namer{renewed: renewed.wait, log: slog.New(slog.DiscardHandler), unnamed: func() []string {
			mu.Lock()
			defer mu.Unlock()
			return strings.Fields(lacks)
		}, signer: func() string {
			mu.Lock()
			defer mu.Unlock()
			return signer
		}, ask: func() {
			mu.Lock()
			defer mu.Unlock()
			asked++
			time.AfterFunc(time.Second, renewed.notify) // with a certificate that lacks the same
		}}
		wants := func(want int, when, nowLacks, nowSigns string) {
			t.Helper()
			mu.Lock()
			lacks, signer = nowLacks, nowSigns
			mu.Unlock()
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if asked != want {
				t.Errorf("%s it has asked %d times, want %d", when, asked, want)
			}
		}
		begin := time.Now()
		go n.keep(ctx)
		if n.await(ctx); time.Since(begin) != time.Second {
			t.Errorf("the start waits %v, want 1s: until the first certificate came", time.Since(begin))
		}
		wants(1, "while nothing changes", "10.0.0.5", "ash")
		renewed.notify()
		wants(1, "when its certificate was renewed anyhow", "10.0.0.5", "ash")
		wants(1, "while nobody leads", "10.0.0.5", "")
		wants(1, "when the same one leads again", "10.0.0.5", "ash")
		wants(2, "when another one signs", "10.0.0.5", "elm")
		wants(3, "when its address is another", "10.0.0.6", "elm")
		wants(3, "when it is named", "", "elm")
		begin = time.Now()
		if n.await(ctx); time.Since(begin) != 0 {
			t.Errorf("a node that is named waits %v", time.Since(begin))
		}
		wants(4, "when another certificate does not name it", "10.0.0.6", "elm")
	})
}

// What another node signs does not say that its node votes: who came to vote since it
// asked signs one that does at once, so that workers believe it.
func TestWhoVotesMeanwhileSaysSo(t *testing.T) {
	for _, votes := range []bool{true, false} {
		ca := newTestCA(t, "pine")
		files, key, cert := signedNode(t, ca, t.TempDir(), "oak")
		held, err := tlsconf.NewHolder(key, cert, ca.CertPEM(), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		voter := key.ID()
		if !votes {
			voter = "another"
		}
		a := agentIn(t, datadir.Node{NodeID: key.ID(), Name: "oak", ClusterID: "c1"})
		a.certs, a.files, a.addr, a.peers = held, files, "10.0.0.5:5050", newPeers(held, nil, nil, func() {})
		inRaft(t, a, voter)
		if votes {
			if _, stop, err := a.raft.AwaitLeadership(t.Context()); err != nil {
				t.Fatal(err)
			} else {
				stop()
			}
		}
		(&caWorld{t: t, store: a.store}).do(&fsm.ClusterInit{Level: fsm.Newest, Cluster: &api.Cluster{ID: "c1", Name: "pine"}, Authority: &api.Authority{CACert: ca.CertPEM(), CAKey: ca.KeyPEM(), Pin: ca.Pin()}, Node: &api.Node{ID: key.ID(), Name: "oak"}})
		if err := a.rotator().Save(cert); err != nil {
			t.Fatal(err)
		}
		if a.certs.Votes() != votes {
			t.Errorf("a node that votes: %v, has a certificate that says so: %v", votes, a.certs.Votes())
		}
	}
}
