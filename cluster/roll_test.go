package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/cluster/tlsconf"

	"github.com/hashicorp/raft"
)

// alone is a node that follows no log.
func alone(t *testing.T, level int) *Agent {
	a := agentIn(t, datadir.Node{NodeID: "me", Name: "oak", Cluster: "pine"})
	_, tr := raft.NewInmemTransport("10.0.0.1:5050")
	mem := raft.NewInmemStore()
	var err error
	a.raft, err = consensus.Open(consensus.Config{NodeID: "me", Store: a.store, Transport: tr, Log: a.log, LogStore: mem, StableStore: mem, SnapshotStore: raft.NewInmemSnapshotStore()})
	if err != nil {
		t.Fatal(err)
	}
	a.stack = newStack()
	a.stack.start("raft", a.raft.Run)
	t.Cleanup(func() { _ = a.stack.stop() })
	a.noteLeast(level)
	return a
}

// A node without a copy of the state lets in whom its feed, or a voter that it
// asks, tells to be a member; and nobody else.
func TestAWorkerAsksWhomItDoesNotKnow(t *testing.T) {
	a := alone(t, 3)
	if err := a.belongs(t.Context(), "me"); err != nil {
		t.Errorf("itself: %v", err)
	}
	if err := a.belongs(t.Context(), "elm"); api.ErrorCode(err) != api.CodeUnavailable {
		t.Errorf("with nobody to ask: %v", err)
	}
	a.roll.told(&feed{told: true, gone: map[string]bool{"elm": true}})
	for _, fed := range []bool{true, false} {
		a.fed.Store(fed)
		if err := a.belongs(t.Context(), "ash"); (err == nil) != fed {
			t.Errorf("one that was not removed, fed %v: %v", fed, err)
		}
	}
	a.fed.Store(true)
	if err := a.belongs(t.Context(), "elm"); api.ErrorCode(err) != api.CodeNotAllowed || !strings.Contains(err.Error(), "removed") {
		t.Errorf("one that was removed: %v", err)
	}
	a.roll.told(&feed{}) // by a voter of before
	if err := a.belongs(t.Context(), "ash"); api.ErrorCode(err) != api.CodeUnavailable {
		t.Errorf("with a feed that does not tell: %v", err)
	}
	for state, want := range map[string]api.Code{server.MemberIn: "", server.MemberGone: api.CodeNotAllowed, server.MemberNever: api.CodeNotAllowed} {
		if err := memberError("elm", server.Member{State: state}); api.ErrorCode(err) != want {
			t.Errorf("%s: %v", state, err)
		}
	}
}

// A voter that starts is told what was seen of it by a worker that can ask nobody
// about it: there may be no leader before it votes, and its folder may be an older
// copy. It is told nothing else, and who was removed nothing.
func TestAVoterThatStartsIsAnswered(t *testing.T) {
	a := alone(t, 3)
	a.ages = newAgeGuard(a.line, a.nameOf, a.log)
	a.fed.Store(false)
	for path, want := range map[string]api.Code{seenPath: "", "/v1/jobs": api.CodeUnavailable} {
		if err := a.admitPeer(httptest.NewRequest(http.MethodGet, path, nil), "elm"); api.ErrorCode(err) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	a.roll.told(&feed{told: true, gone: map[string]bool{"elm": true}})
	if err := a.admitPeer(httptest.NewRequest(http.MethodGet, seenPath, nil), "elm"); api.ErrorCode(err) != api.CodeNotAllowed {
		t.Errorf("one that was removed: %v", err)
	}
}

// Many that want to know the same ask once; an answer holds for a while, and that
// there was none is not remembered.
func TestQuestionsAboutMembersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r roll
		asked := 0
		var fails error
		ask := func(ctx context.Context, _, _ string) (server.Member, error) {
			asked++
			time.Sleep(time.Second)
			return server.Member{State: server.MemberIn}, fails
		}
		all := func(want error) {
			t.Helper()
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					if _, err := r.ask(t.Context(), "elm", "", ask); err != want {
						t.Errorf("%v", err)
					}
				})
			}
			wg.Wait()
		}
		all(nil)
		all(nil)
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
		time.Sleep(memberFor + time.Second)
		fails = api.Errorf(api.CodeUnavailable, "nobody answers")
		all(fails)
		all(fails)
		if asked != 3 {
			t.Errorf("asked %d times", asked)
		}
		hurry, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := r.ask(hurry, "elm", "", ask); api.ErrorCode(err) != api.CodeUnavailable {
			t.Errorf("in a hurry: %v", err)
		}
		synctest.Wait()
		time.Sleep(2 * time.Second) // the question ends by itself
		for i := range 2 * maxHeard {
			_, _ = r.ask(hurry, string(rune(i)), "", func(context.Context, string, string) (server.Member, error) { return server.Member{}, nil })
		}
		if len(r.heard) > maxHeard {
			t.Errorf("%d answers are remembered", len(r.heard))
		}
	})
}

// Raft is for those that take part in it: by the log, or by a certificate that
// none but a voter can have made; gossip for members. What a node dials it seals.
func TestWhoGetsAStream(t *testing.T) {
	for _, level := range []int{2, 3} {
		a := alone(t, level)
		a.fed.Store(true)
		a.roll.told(&feed{told: true, gone: map[string]bool{"gone": true}})
		for _, c := range []struct {
			caller tlsconf.Caller
			want   bool
		}{
			{tlsconf.Caller{Peer: tlsconf.Peer{ID: "elm"}, Proto: tlsconf.ProtoRaft}, level < 3},
			{tlsconf.Caller{Peer: tlsconf.Peer{ID: "elm"}, Proto: tlsconf.ProtoRaft, Dialed: true}, level < 3},
			{tlsconf.Caller{Peer: tlsconf.Peer{ID: "elm", Voter: true}, Proto: tlsconf.ProtoRaft}, true},
			{tlsconf.Caller{Peer: tlsconf.Peer{ID: "elm", Voter: true}, Proto: tlsconf.ProtoRaft + "/age"}, true},
			{tlsconf.Caller{Peer: tlsconf.Peer{ID: "elm"}, Proto: tlsconf.ProtoRaft + "/age"}, level < 3},
			{tlsconf.Caller{Peer: tlsconf.Peer{ID: "gone", Voter: true}, Proto: tlsconf.ProtoRaft}, false},
			{tlsconf.Caller{Peer: tlsconf.Peer{ID: "gone"}, Proto: tlsconf.ProtoGossip}, false},
			{tlsconf.Caller{Peer: tlsconf.Peer{ID: "gone", Voter: true}, Proto: tlsconf.ProtoGossip, Dialed: true}, false},
			{tlsconf.Caller{Peer: tlsconf.Peer{ID: "elm"}, Proto: tlsconf.ProtoGossip}, true},
			{tlsconf.Caller{Peer: tlsconf.Peer{ID: "elm"}, Proto: tlsconf.ProtoGossip, Dialed: true}, true},
		} {
			if err := a.admitStream(c.caller); (err == nil) != c.want {
				t.Errorf("level %d: %+v: %v", level, c.caller, err)
			}
		}
		a.fed.Store(false) // there may be nobody to ask any more
		for id, want := range map[string]bool{"elm": true, "gone": false} {
			if err := a.admitStream(tlsconf.Caller{Peer: tlsconf.Peer{ID: id}, Proto: tlsconf.ProtoGossip}); (err == nil) != want {
				t.Errorf("%s, of a worker that lost its feed: %v", id, err)
			}
		}
		a.roll.told(&feed{})
		if a.admitStream(tlsconf.Caller{Peer: tlsconf.Peer{ID: "elm"}, Proto: tlsconf.ProtoGossip}) == nil {
			t.Error("a node that nobody ever told of gets a stream")
		}
	}
}

// A node that may trust voters only does not talk to another one that takes the
// place of a voter.
func TestOnlyVotersAreTakenForVoters(t *testing.T) {
	ca, err := tlsconf.NewCA("pine", "c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, votes := range []bool{true, false} {
		oak, _ := holderOf(t, ca, "oak")
		elm, id := holderOf(t, ca, "elm")
		if votes {
			csr, err := elm.CSR()
			if err != nil {
				t.Fatal(err)
			}
			cert, err := ca.Sign(csr, tlsconf.NodeIdentity{ID: id, Name: "elm", ClusterID: "c1", Voter: true}, time.Now(), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if err := elm.Swap(cert); err != nil {
				t.Fatal(err)
			}
		}
		addr := serveAs(t, elm, guardOf(first).tell(answers("{}")))
		p := newPeers(oak, func(string) (string, bool) { return addr, true }, guardOf(first), func() {})
		if err := p.call(t.Context(), id, "GET", "/", nil, nil); err != nil {
			t.Errorf("a node that may talk to any: %v", err)
		}
		p.trusts = func() bool { return false }
		if err := p.call(t.Context(), id, "GET", "/", nil, nil); (err == nil) != votes {
			t.Errorf("the other votes: %v, and is answered to: %v", votes, err)
		}
		p.close()
	}
}

// A connection of a node that was removed is charged as anybody's, also by a worker,
// which has heard of it by its feed alone.
func TestARemovedNodeIsAStranger(t *testing.T) {
	ca, err := tlsconf.NewCA("pine", "c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a := alone(t, 3)
	a.certs, _ = holderOf(t, ca, "oak")
	elm, id := holderOf(t, ca, "elm")
	cert, err := elm.ClientConfig("", "").GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	shows := tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	if who, ok := a.nodeAt(shows); !ok || who.Name != "node "+id {
		t.Errorf("a node: %v, %v", who, ok)
	}
	a.roll.told(&feed{told: true, gone: map[string]bool{id: true}})
	if who, ok := a.nodeAt(shows); ok {
		t.Errorf("one that was removed: %v", who)
	}
}

// Whenever others are removed than before, open connections are looked through, also
// if they are as many: one came back and another was removed.
func TestWhoElseIsGoneIsNews(t *testing.T) {
	var r roll
	for _, c := range []struct {
		gone []string
		news bool
	}{
		{nil, true}, {nil, false}, {[]string{"elm"}, true}, {[]string{"elm"}, false}, {[]string{"ash"}, true}, {[]string{"ash", "elm"}, true}, {[]string{"elm"}, true},
	} {
		heard := r.news.wait()
		f := &feed{}
		f.roll(&server.FeedRow{Begin: true, Told: true, Gone: c.gone})
		r.told(f)
		select {
		case <-heard:
			if !c.news {
				t.Errorf("%v: nothing changed", c.gone)
			}
		default:
			if c.news {
				t.Errorf("%v: nobody is told", c.gone)
			}
		}
	}
}

// What a feed tells of removed nodes adds up, and begins anew with each.
func TestFeedTellsWhoIsGone(t *testing.T) {
	var f feed
	for _, c := range []struct {
		row  server.FeedRow
		told bool
		gone string
	}{
		{server.FeedRow{Index: 1, Begin: true, Told: true, Gone: []string{"a"}}, true, "a"},
		{server.FeedRow{Index: 2, Gone: []string{"b"}}, true, "ab"},
		{server.FeedRow{Index: 3}, true, "ab"},
		{server.FeedRow{Index: 3, Begin: true, Told: true, Gone: []string{"c"}}, true, "c"},
		{server.FeedRow{Index: 3, Begin: true}, false, ""},
	} {
		if err := f.take(&c.row); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, id := range []string{"a", "b", "c"} {
			if f.gone[id] {
				got += id
			}
		}
		if got != c.gone || f.told != c.told {
			t.Errorf("after %+v: %q, told %v", c.row, got, f.told)
		}
	}
}

// answers is a handler that says that, whatever it is asked.
func answers(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}
