package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/ages"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
)

var (
	first     ages.Line
	recovered = first.Begin("oak", time.Unix(1e9, 0))
	apart     = first.Begin("elm", time.Unix(1e9, 0))
)

func guardOf(l ages.Line) *ageGuard {
	return newAgeGuard(l, func(id string) string { return id + "-name" }, slog.New(slog.DiscardHandler))
}

// handler answers as a node of that age does to another one, and counts what
// gets past the guard.
func handler(g *ageGuard, passed *int) http.Handler {
	return g.tell(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.admit(r, "caller"); err != nil {
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte(err.Error()))
			return
		}
		*passed++
	}))
}

// A request between nodes of different ages is refused by who gets it, and its
// answer by who sent it, whichever is the later; a program from before there
// were ages is of the first.
func TestAgesDoNotTalk(t *testing.T) {
	for _, c := range []struct {
		caller, called ages.Line
		says           string
	}{
		{first, first, ""}, {recovered, recovered, ""},
		{first, recovered, "recovered on oak"}, {recovered, first, "age of the cluster that is over"}, {apart, recovered, "began apart"},
	} {
		passed := 0
		srv := httptest.NewServer(handler(guardOf(c.called), &passed))
		defer srv.Close()
		g := guardOf(c.caller)
		req, err := http.NewRequest(http.MethodPost, srv.URL+"/v1/internal/hello", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := sameAge{http.DefaultTransport, g, "called"}.RoundTrip(req)
		if err == nil {
			res.Body.Close()
		}
		if c.says == "" {
			if err != nil || passed != 1 {
				t.Errorf("%q to %q: %v, %d got through", c.caller, c.called, err, passed)
			}
			continue
		}
		if passed != 0 || err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "called-name") || !strings.Contains(err.Error(), "--rejoin") {
			t.Errorf("%q to %q: %v, %d got through", c.caller, c.called, err, passed)
		}
		if behind := g.behind(); (behind != nil) != (c.caller.To(c.called) == ages.Later) {
			t.Errorf("%q to %q: behind is %v", c.caller, c.called, behind)
		}
		if api.ErrorCode(err) == api.CodeConflict {
			t.Error("a refusal counts as an answer of the cluster")
		}
	}
}

// Raft and gossip are refused on the port, by the name of the protocol.
func TestAgesDoNotShareProtocols(t *testing.T) {
	names := protocols(recovered)
	for _, p := range []string{tlsconf.ProtoRaft, tlsconf.ProtoGossip} {
		for _, n := range append(names, protocols(apart)...) {
			if n == p {
				t.Errorf("%s is served in a later age", p)
			}
		}
	}
	if got := strings.Join(protocols(first), " "); got != strings.Join(tlsconf.Protocols(), " ") {
		t.Errorf("in the first age: %s", got)
	}
	srv := httptest.NewUnstartedServer(nil)
	srv.TLS = &tls.Config{NextProtos: names}
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	_, err := tls.Dial("tcp", srv.Listener.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "example.com", NextProtos: []string{tlsconf.ProtoRaft}})
	if !noCommonProtocol(err) {
		t.Errorf("%v is not seen as a refusal", err)
	}
}

func agentIn(t *testing.T, self datadir.Node) *Agent {
	t.Helper()
	cfg, err := Config{DataDir: t.TempDir()}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	d, err := datadir.Open(cfg.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Save(&self); err != nil {
		t.Fatal(err)
	}
	return &Agent{cfg: cfg, log: cfg.Log, dir: d, self: &self, store: fsm.NewStore(nil)}
}

// A change of age that is cut short anywhere is finished by the next start, and
// the log of the former age is kept.
func TestChangeOfAgeSurvivesCrashes(t *testing.T) {
	for _, crash := range []string{"none", "before the log is moved", "after the log is moved"} {
		t.Run(crash, func(t *testing.T) {
			a := agentIn(t, datadir.Node{NodeID: "a1", Name: "fir", Cluster: "pine", Raft: &consensus.Standing{Term: 7, LastTerm: 7, LastIndex: 99}})
			if err := os.Mkdir(a.dir.File("raft"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(a.dir.File("raft", "raft.db"), []byte("log"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := a.adopt(recovered); err != nil {
				t.Fatal(err)
			}
			if crash == "after the log is moved" {
				if err := os.Rename(a.dir.File("raft"), a.dir.File("raft.bak-0")); err != nil {
					t.Fatal(err)
				}
			}
			if crash != "none" { // the next start knows only what is on disk
				self, err := a.dir.Load()
				if err != nil {
					t.Fatal(err)
				}
				a.self = self
			}
			if err := a.enterAge(t.Context()); err != nil {
				t.Fatal(err)
			}
			self, err := a.dir.Load()
			if err != nil || self.Refill || recovered.To(self.Ages) != ages.Same || self.Raft != nil || a.self.Refill || recovered.To(a.line) != ages.Same {
				t.Errorf("%+v, %v", self, err)
			}
			if _, err := os.Stat(a.dir.File("raft")); !os.IsNotExist(err) {
				t.Errorf("the log of the former age is in use: %v", err)
			}
			entries, _ := os.ReadDir(a.dir.Path)
			kept := 0
			for _, e := range entries {
				if b, err := os.ReadFile(a.dir.File(e.Name(), "raft.db")); err == nil && string(b) == "log" {
					kept++
				}
			}
			if kept != 1 {
				t.Errorf("the log of the former age is there %d times", kept)
			}
		})
	}
}

// Who is to change continues with the newest age that answers, never with one
// that it comes from, and asks when two began apart.
func TestChooseAge(t *testing.T) {
	again := recovered.Begin("oak", time.Unix(2e9, 0))
	at := func(l ages.Line) told { return told{addr: "10.0.0.1:5050", line: l, Health: api.Health{Node: "x"}} }
	for _, c := range []struct {
		own     ages.Line
		answers []told
		want    ages.Line
		fails   bool
	}{
		{first, nil, nil, false}, {first, []told{at(first)}, nil, false}, {first, []told{at(first), at(recovered)}, recovered, false},
		{first, []told{at(again), at(recovered)}, again, false}, {first, []told{at(recovered), at(again)}, again, false},
		{again, []told{at(recovered), at(first)}, nil, false}, {first, []told{at(recovered), at(apart)}, nil, true},
		{apart, []told{at(recovered)}, recovered, false},
	} {
		a := &Agent{line: c.own}
		got, err := a.chooseAge(c.answers)
		if (err != nil) != c.fails || got.ID() != c.want.ID() {
			t.Errorf("%q of %v: %q, %v", c.own, c.answers, got, err)
		}
	}
}
