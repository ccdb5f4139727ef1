package server

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

func TestTokens(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	r := n.send(request{method: "POST", path: "/v1/tokens", body: `{"kind":"client","role":"viewer","name":"ci","ttl":"1h"}`, token: admin})
	r.want(t, 201)
	g := into[api.TokenGrant](t, r)
	if g.Hash != "" || !strings.HasPrefix(g.Secret, "msc1-"+g.ID+".") || !g.Expires.Equal(testTime.Add(3600e9)) {
		t.Errorf("%+v", g)
	}
	who := into[exchange.Whoami](t, n.send(request{method: "GET", path: "/v1/whoami", token: g.Secret}))
	if who != (exchange.Whoami{Actor: "token:ci", Role: api.RoleViewer}) {
		t.Errorf("%+v", who)
	}
	list := n.send(request{method: "GET", path: "/v1/tokens?kind=client", token: admin})
	list.want(t, 200)
	if got := into[items[api.Token]](t, list); len(got.Items) != 2 || bytes.Contains(list.body, []byte("hash")) {
		t.Errorf("%s", list.body)
	}
	n.send(request{method: "DELETE", path: "/v1/tokens/" + g.ID, token: admin}).want(t, 200)
	n.send(request{method: "GET", path: "/v1/whoami", token: g.Secret}).want(t, 401)
	n.send(request{method: "DELETE", path: "/v1/tokens/" + g.ID, token: admin}).want(t, 404)
}

func TestJoinTokenHoldsThePin(t *testing.T) {
	n := newLeader(t)
	r := n.send(request{method: "POST", path: "/v1/tokens", body: `{"kind":"join","maxUses":1,"voterOnly":true}`, token: n.token(api.RoleAdmin)})
	r.want(t, 201)
	j, err := api.ParseJoinToken(into[api.TokenGrant](t, r).Secret)
	if err != nil || j.Cluster != "pine" || j.Pin != "0123456789abcdef0123456789abcdef0123456789abcdef0123" {
		t.Fatalf("%+v, %v", j, err)
	}
	tok := n.store.View().Token(j.ID)
	if tok.Hash != auth.Hash(j.Secret) || tok.MaxUses != 1 || !tok.VoterOnly || tok.Role != api.RoleNone {
		t.Errorf("%+v", tok)
	}
	r = n.send(request{method: "POST", path: "/v1/tokens", body: `{"kind":"join","workerOnly":true}`, token: n.token(api.RoleAdmin)})
	r.want(t, 201)
	if g := into[api.TokenGrant](t, r); !g.WorkerOnly || !n.store.View().Token(g.ID).WorkerOnly {
		t.Errorf("%+v", g)
	}
	for _, body := range []string{`{"kind":"join","workerOnly":true,"voterOnly":true}`, `{"kind":"client","role":"viewer","workerOnly":true}`} {
		if r = n.send(request{method: "POST", path: "/v1/tokens", body: body, token: n.token(api.RoleAdmin)}); r.StatusCode != 400 || !bytes.Contains(r.body, []byte("workerOnly")) {
			t.Errorf("%s: %d %s", body, r.StatusCode, r.body)
		}
	}
	for _, body := range []string{`{"kind":"join","workerOnly":true,"voter":true}`, `{"kind":"client","role":"viewer","voter":true}`} {
		if r = n.send(request{method: "POST", path: "/v1/tokens", body: body, token: n.token(api.RoleAdmin)}); r.StatusCode != 400 || !bytes.Contains(r.body, []byte("voter")) {
			t.Errorf("%s: %d %s", body, r.StatusCode, r.body)
		}
	}
	// A join token is not a client token.
	n.send(request{method: "GET", path: "/v1/jobs", token: api.ClientToken{ID: j.ID, Secret: j.Secret}.String()}).want(t, 401)
}

// Who joins may become a voter, and so hold the key of the CA, if the token says so,
// or while too few may; below the level any does, as before. A worker is given
// the right by an admin.
func TestTheRightToVoteIsOfTheToken(t *testing.T) {
	for _, level := range []fsm.Level{3, fsm.Newest} {
		w := newWorld()
		n := newTestNode(t, w, "oak", newStoreAt(t, level))
		w.lead("oak")
		join := func(id, body string) bool {
			t.Helper()
			r := n.send(request{method: "POST", path: "/v1/tokens", body: body, token: n.token(api.RoleAdmin)})
			r.want(t, 201)
			g := into[api.TokenGrant](t, r)
			do(t, n.store, &fsm.NodeJoin{Token: g.ID, Hash: n.store.View().Token(g.ID).Hash, NodeID: id, Name: id, VoterOnly: g.VoterOnly})
			return !n.store.View().Node(id).WorkerOnly
		}
		plain := `{"kind":"join"}`
		for n.store.View().MayVote() < api.FewVoters {
			if !join(fmt.Sprint("few-", n.store.View().MayVote()), plain) {
				t.Fatalf("level %d: a node may not vote while %d may", level, n.store.View().MayVote())
			}
		}
		old := level < 4
		if join("plain", plain) != old || !join("voter", `{"kind":"join","voter":true}`) || !join("small", `{"kind":"join","voterOnly":true}`) || join("worker", `{"kind":"join","workerOnly":true}`) {
			t.Errorf("level %d: the right to vote is not that of the token", level)
		}
		r := n.send(request{method: "POST", path: "/v1/nodes/worker/promote", body: "{}", token: n.token(api.RoleAdmin)})
		if n.store.View().Node("worker").WorkerOnly != old || (r.StatusCode == 200) == old {
			t.Errorf("level %d: promoted: %d %s", level, r.StatusCode, r.body)
		}
	}
}

// No clock, ahead or trusted, forgets a token as another is made: the controller
// does, when it may.
func TestAClockThatIsAheadForgetsNoToken(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		n := newLeader(t, func(c *Config) {
			c.Forgets = func() bool { return trusted }
		})
		admin := n.token(api.RoleAdmin)
		for id, expires := range map[string]time.Time{"late": testTime.Add(-48 * time.Hour), "later": testTime.Add(-72 * time.Hour)} {
			do(t, n.store, &fsm.TokenCreate{Meta: fsm.Meta{At: testTime.Add(-100 * time.Hour)}, Token: &api.Token{ID: id, Kind: api.TokenJoin, Hash: "h", Expires: expires}})
		}
		n.send(request{method: "POST", path: "/v1/tokens", body: `{"kind":"join"}`, token: admin}).want(t, 201)
		for _, id := range []string{"late", "later"} {
			if n.store.View().Token(id) == nil {
				t.Errorf("with a clock that is trusted: %v, token %s is gone", trusted, id)
			}
		}
	}
}

func TestRefusedTokens(t *testing.T) {
	n := newLeader(t)
	admin := n.token(api.RoleAdmin)
	for body, field := range map[string]string{
		`{"kind":"client"}`: "role", `{"kind":"client","role":"node"}`: "role", `{"kind":"client","role":"king"}`: "role",
		`{"kind":"join","ttl":"-1h"}`: "ttl", `{"kind":"join","ttl":"2161h"}`: "ttl", `{"kind":"client","role":"viewer","ttl":"2161h"}`: "ttl", `{"kind":"join","maxUses":-1}`: "maxUses", `{"kind":"client","role":"viewer","name":"A b"}`: "name",
	} {
		if e := n.send(request{method: "POST", path: "/v1/tokens", body: body, token: admin}).want(t, 400); e.Field != field {
			t.Errorf("%s: %+v", body, e)
		}
	}
}

func TestJoin(t *testing.T) {
	n := newLeader(t)
	q := request{method: "POST", path: "/v1/join", body: api.JoinRequest{Token: "id.secret", Name: "elm", Cluster: "pine"}}
	r := n.send(q)
	r.want(t, 200)
	if g := into[api.JoinGrant](t, r); g.Name != "elm" || len(n.joined) != 1 {
		t.Errorf("%+v", g)
	}
	n.send(request{method: "POST", path: "/v1/join", body: `{"name":"a b"}`}).want(t, 400)
	n.joinErr = api.Errorf(api.CodeNotAllowed, "the token is used up")
	q.header = http.Header{auth.HeaderForwarded: {"1"}} // which is not believed
	for range 20 {
		n.send(q).want(t, 401)
	}
	if e := n.send(q).want(t, 429); !strings.Contains(e.Message, "try again in") {
		t.Errorf("guessing is not bounded: %+v", e)
	}
}

func TestJoinThroughAFollower(t *testing.T) {
	_, oak, elm := twoNodes(t)
	q := request{method: "POST", path: "/v1/join", body: api.JoinRequest{Token: "id.secret", Name: "fir", Cluster: "pine"}}
	elm.send(q).want(t, 200)
	oak.joinErr = api.Errorf(api.CodeNotAllowed, "the token is used up")
	for range 20 {
		elm.send(q).want(t, 401)
	}
	elm.send(q).want(t, 429)
	oak.send(q).want(t, 401) // the follower's address is not to blame
}
