package auth

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// book is a directory of tokens and nodes, with a clock.
type book struct {
	tokens map[string]*api.Token
	nodes  map[string]*api.Node
	now    time.Time
	final  bool
	least  bool
	refuse map[string]error

	noLocalAdmin bool
}

func (b *book) Token(id string) *api.Token { return b.tokens[id] }
func (b *book) Node(id string) *api.Node   { return b.nodes[id] }

func newAuth() (*book, *Authenticator) {
	b := &book{tokens: map[string]*api.Token{}, nodes: map[string]*api.Node{"n1": {ID: "n1", Name: "oak"}, "n2": {ID: "n2", Name: "elm", State: api.NodeGone}, "v1": {ID: "v1", Name: "ash"}}, now: start, final: true}
	return b, New(Config{
		Directory: func() Directory { return b },
		Final:     func() bool { return b.final },
		Node:      "fir",
		Now:       func() time.Time { return b.now },
		NodeCert: func(r *http.Request) (Peer, bool) {
			c := r.Header.Get("Cert")
			return Peer{ID: c, Voter: c == "v1"}, c != ""
		},
		Admit: func(_ *http.Request, id string) error { return b.refuse[id] },
		Least: func() bool { return b.least },
		Votes: func(p Peer) bool { return p.Voter }, NoLocalAdmin: func() (bool, error) { return b.noLocalAdmin, nil },
	})
}

func (b *book) add(r api.TokenRequest) (*api.Token, string) {
	t, secret := NewToken(&r, b.now)
	b.tokens[t.ID] = t
	return t, api.ClientToken{ID: t.ID, Secret: secret}.String()
}

func withHeader(kv ...string) *http.Request {
	r := httptest.NewRequest("GET", "/v1/jobs", nil)
	for i := 0; i < len(kv); i += 2 {
		r.Header.Set(kv[i], kv[i+1])
	}
	return r
}

func TestNewToken(t *testing.T) {
	b, _ := newAuth()
	j, secret := NewToken(&api.TokenRequest{Kind: api.TokenJoin, MaxUses: 2, VoterOnly: true, Role: api.RoleAdmin}, start)
	if j.Role != api.RoleNone || !j.VoterOnly || j.MaxUses != 2 || j.Expires != start.Add(24*time.Hour) || !Matches(j, secret) || Matches(j, secret+"a") || strings.Contains(j.Hash, secret) {
		t.Errorf("%+v", j)
	}
	c, _ := b.add(api.TokenRequest{Kind: api.TokenClient, Role: api.RoleViewer, TTL: api.Duration(time.Hour)})
	if c.Expires != start.Add(time.Hour) || c.Role != api.RoleViewer || c.MaxUses != 0 {
		t.Errorf("%+v", c)
	}
	if Matches(&api.Token{Hash: ""}, "") || Matches(&api.Token{Hash: "zz"}, "") {
		t.Error("a token without a hash matches")
	}
	// What is typed must come back from the parsers.
	whole := api.JoinToken{Cluster: "pine-2", ID: j.ID, Secret: secret, Pin: strings.Repeat("0", 52)}
	if back, err := api.ParseJoinToken(whole.String()); err != nil || back != whole {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestBearer(t *testing.T) {
	b, a := newAuth()
	tok, text := b.add(api.TokenRequest{Kind: api.TokenClient, Role: api.RoleOperator})
	join, joinText := b.add(api.TokenRequest{Kind: api.TokenJoin})
	for _, c := range []struct {
		name, header string
		role         api.Role
		code         api.Code
	}{
		{"none", "", api.RoleNone, ""},
		{"good", "Bearer " + text, api.RoleOperator, ""},
		{"lower case", "bearer " + text, api.RoleOperator, ""},
		{"basic", "Basic " + text, api.RoleNone, api.CodeNotAllowed},
		{"no scheme", text, api.RoleNone, api.CodeNotAllowed},
		{"altered", "Bearer " + text + "x", api.RoleNone, api.CodeNotAllowed},
		{"cut off", "Bearer " + text[:len(text)-1], api.RoleNone, api.CodeNotAllowed},
		{"unknown", "Bearer msc1-x.y", api.RoleNone, api.CodeNotAllowed},
		{"empty secret", "Bearer msc1-" + tok.ID + ".", api.RoleNone, api.CodeNotAllowed},
		{"a join token", "Bearer " + joinText, api.RoleNone, api.CodeNotAllowed},
		{"the hash", "Bearer msc1-" + tok.ID + "." + tok.Hash, api.RoleNone, api.CodeNotAllowed},
	} {
		for _, cred := range []Credentials{TLS, Unix, Bearer} {
			r := withHeader()
			if c.header != "" {
				r.Header.Set("Authorization", c.header)
			}
			id, err := a.Identify(r, cred)
			if id.Role != c.role || api.ErrorCode(err) != c.code {
				t.Errorf("%s: %+v, %v", c.name, id, err)
			}
		}
		a.limiter.sources = map[string]debt{}
	}
	_ = join
	b.now = start.Add(ClientTTL)
	if _, err := a.Identify(withHeader("Authorization", "Bearer "+text), TLS); err == nil || !strings.Contains(err.Error(), "expired at 2026-07-30T12:00:00Z") {
		t.Errorf("expired: %v", err)
	}
}

func TestUnknownTokenIsTheLeadersToJudge(t *testing.T) {
	b, a := newAuth()
	b.final = false
	r := withHeader("Authorization", "Bearer msc1-new.secret")
	if id, err := a.Identify(r, TLS); err != nil || !id.Unverified || id.Role != api.RoleNone {
		t.Errorf("%+v, %v", id, err)
	}
}

func TestNodes(t *testing.T) {
	b, a := newAuth()
	b.refuse = map[string]error{"n8": api.Errorf(api.CodeUnavailable, "is not known")}
	_, viewer := b.add(api.TokenRequest{Kind: api.TokenClient, Role: api.RoleViewer})
	forward := func(id Identity) []string {
		h := http.Header{}
		id.Forward(h)
		out := []string{"Cert", "n1"}
		for k := range h {
			out = append(out, k, h.Get(k))
		}
		return out
	}
	for _, c := range []struct {
		name   string
		header []string
		want   Identity
		code   api.Code
	}{
		{"itself", []string{"Cert", "n1"}, Identity{Actor: "node:oak", Role: api.RoleNode, NodeID: "n1"}, ""},
		{"not known, and let in", []string{"Cert", "n9"}, Identity{Actor: "node:n9", Role: api.RoleNode, NodeID: "n9"}, ""},
		{"not let in", []string{"Cert", "n8"}, Identity{}, api.CodeUnavailable},
		{"not let in, forwarding", []string{"Cert", "n8", HeaderForwarded, "1", HeaderActor, "root", HeaderRole, "admin"}, Identity{}, api.CodeUnavailable},
		{"gone", []string{"Cert", "n2"}, Identity{}, api.CodeNotAllowed},
		{"gone, forwarding", []string{"Cert", "n2", HeaderForwarded, "1", HeaderActor, "root", HeaderRole, "admin"}, Identity{}, api.CodeNotAllowed},
		{"forwarding root", forward(Identity{Actor: "root", Role: api.RoleAdmin}), Identity{Actor: "root", Role: api.RoleAdmin, Forwarded: true, Via: "oak"}, ""},
		{"forwarding a node", forward(Identity{Actor: "node:fir", Role: api.RoleNode, NodeID: "n3"}), Identity{Actor: "node:fir", Role: api.RoleNode, NodeID: "n3", Forwarded: true, Via: "oak"}, ""},
		{"forwarding nobody", forward(Identity{}), Identity{Forwarded: true, Via: "oak"}, ""},
		{"forwarding nonsense", []string{"Cert", "n1", HeaderForwarded, "1", HeaderActor, "x", HeaderRole, "king"}, Identity{Forwarded: true, Via: "oak"}, api.CodeNotAllowed},
	} {
		id, err := a.Identify(withHeader(c.header...), TLS)
		if id != c.want || api.ErrorCode(err) != c.code {
			t.Errorf("%s: %+v, %v", c.name, id, err)
		}
	}
	r := withHeader("Cert", "n1", HeaderForwarded, "1", "Authorization", "Bearer "+viewer)
	if id, err := a.Identify(r, TLS); err != nil || id.Role != api.RoleViewer || !id.Forwarded {
		t.Errorf("forwarding a token: %+v, %v", id, err)
	}
	// A certificate counts on the TLS listener only.
	if id, _ := a.Identify(withHeader("Cert", "n1"), Bearer); id.Role != api.RoleNone {
		t.Errorf("%+v", id)
	}
}

func TestOpenListenerRefusesBrowsers(t *testing.T) {
	_, a := newAuth()
	for _, c := range []struct {
		host   string
		header []string
		ok     bool
	}{
		{"127.0.0.1:5051", nil, true}, {"localhost:5051", nil, true}, {"[::1]:5051", nil, true}, {"localhost", nil, true},
		{"evil.example:5051", nil, false}, {"", nil, false},
		{"127.0.0.1:5051", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"127.0.0.1:5051", []string{"Origin", "https://evil.example"}, false},
		{"127.0.0.1:5051", []string{"Sec-Fetch-Site", "same-origin"}, true},
	} {
		r := withHeader(c.header...)
		r.Method, r.Host = "POST", c.host
		r = r.WithContext(context.WithValue(r.Context(), tcpKey{}, &tcpPeer{known: true, uid: a.uid}))
		id, err := a.Identify(r, Open)
		if (err == nil) != c.ok || (id.Role == api.RoleAdmin) != c.ok {
			t.Errorf("%q %v: %+v, %v", c.host, c.header, id, err)
		}
	}
}

// identified is who a request was taken to be of.
type identified struct {
	id  Identity
	err error
}

// identifies serves l until the test ends, and tells of each request whom a takes
// it to be of.
func identifies(t *testing.T, a *Authenticator, via Credentials, l net.Listener) <-chan identified {
	t.Helper()
	got := make(chan identified, 1)
	srv := &http.Server{ConnContext: ConnContext, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		id, err := a.Identify(r, via)
		got <- identified{id, err}
	})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-served })
	return got
}

func TestUnixPeer(t *testing.T) {
	_, a := newAuth()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	got := identifies(t, a, Unix, l)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", l.Addr().String())
	}}}
	ask := func() identified {
		res, err := client.Get("http://mesita/")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return <-got
	}
	if r := ask(); r.err != nil || r.id != (Identity{Actor: "root@fir", Local: "root", Role: api.RoleAdmin}) {
		t.Errorf("the daemon's own user is %+v, %v", r.id, r.err)
	}
	if os.Getuid() != 0 {
		a.uid++ // now this process is some other user
		if r := ask(); r.err != nil || r.id.Role != api.RoleNone {
			t.Errorf("another user is %+v, %v", r.id, r.err)
		}
	}
	other := withHeader()
	other = other.WithContext(context.WithValue(other.Context(), peerKey{}, uint32(os.Getuid()+12345)))
	if id, err := a.Identify(other, Unix); err != nil || id.Role != api.RoleNone {
		t.Errorf("another user is %+v, %v", id, err)
	}
	if id, err := a.Identify(withHeader(), Unix); err != nil || id.Role != api.RoleNone {
		t.Errorf("an unknown peer is %+v, %v", id, err)
	}
}

// A node speaks for its own root, by name; what a user shows it passes on, and is
// checked here. A voter may say who others are.
func TestANodeSpeaksForItself(t *testing.T) {
	b, a := newAuth()
	b.least = true
	tok, secret := b.add(api.TokenRequest{Kind: api.TokenClient, Name: "ci", Role: api.RoleOperator})
	claim := func(cert string, id Identity) (Identity, error) {
		h := http.Header{}
		id.Forward(h)
		r := withHeader("Cert", cert)
		for k := range h {
			r.Header[k] = h[k]
		}
		return a.Identify(r, TLS)
	}
	for _, c := range []struct {
		who  Identity
		node string // how a node that does not vote is believed, "" = it is not
		vote string
	}{
		{Identity{Actor: "root", Role: api.RoleAdmin}, "root@oak", "root@ash"},
		{Identity{Actor: "dev", Role: api.RoleAdmin}, "dev@oak", "dev@ash"},
		{Identity{Actor: "root@ash", Role: api.RoleAdmin}, "", "root@ash"},
		{Identity{Actor: "root", Role: api.RoleNode, NodeID: "v1"}, "", "root"},
		{Identity{Actor: "root", Role: api.RoleOperator}, "", "root"},
		{Identity{Actor: "token:ci", Role: api.RoleOperator}, "", "token:ci"},
		{Identity{Actor: "token:ci", Role: api.RoleViewer}, "", "token:ci"},
		{Identity{Actor: "node:ash", Role: api.RoleNode, NodeID: "v1", Session: "s"}, "", "node:ash"},
	} {
		for cert, want := range map[string]string{"n1": c.node, "v1": c.vote} {
			id, err := claim(cert, c.who)
			if want == "" && api.ErrorCode(err) != api.CodeNotAllowed || id.Actor != want || want != "" && (id.Role != c.who.Role || id.NodeID != c.who.NodeID) {
				t.Errorf("%s says that somebody is %+v: taken for %+v, %v", cert, c.who, id, err)
			}
		}
	}
	b.noLocalAdmin = true
	own := Identity{Actor: "root@oak", Role: api.RoleViewer, Own: "n1", Forwarded: true, Via: "oak"}
	if id, err := claim("n1", Identity{Actor: "root", Role: api.RoleAdmin}); id != own || err != nil {
		t.Errorf("root of a worker where that is not an admin: %+v, %v", id, err)
	}
	if id, err := claim("v1", Identity{Actor: "root", Role: api.RoleAdmin}); id.Role != api.RoleAdmin || id.Own != "" || err != nil {
		t.Errorf("root of a voter: %+v, %v", id, err)
	}
	own.Via = "ash" // which passes it on
	if id, err := claim("v1", own); id != own || err != nil {
		t.Errorf("passed on by a voter: %+v, %v", id, err)
	}
	shown := http.Header{"Authorization": {"Bearer " + secret}}
	r, h := withHeader("Cert", "n1"), http.Header{}
	Identity{Actor: "token:ci", Role: api.RoleOperator, Token: tok.ID}.PassOn(h, shown)
	if h.Get(HeaderActor) != "" {
		t.Errorf("who shows a token is named: %v", h)
	}
	for k := range h {
		r.Header[k] = h[k]
	}
	if id, err := a.Identify(r, TLS); err != nil || id.Actor != "token:ci" || id.Token != tok.ID || !id.Forwarded {
		t.Errorf("a token that was passed on: %+v, %v", id, err)
	}
}

func TestWrongGuessesCost(t *testing.T) {
	b, a := newAuth()
	bad := withHeader("Authorization", "Bearer nonsense")
	for i := range maxFailures {
		if _, err := a.Identify(bad, TLS); api.ErrorCode(err) != api.CodeNotAllowed {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	if _, err := a.Identify(bad, TLS); api.ErrorCode(err) != api.CodeBusy || !strings.Contains(err.Error(), "in 3 s") {
		t.Fatalf("%v", err)
	}
	elsewhere := withHeader("Authorization", "Bearer nonsense")
	elsewhere.RemoteAddr = "192.0.2.77:1"
	if _, err := a.Identify(elsewhere, TLS); api.ErrorCode(err) != api.CodeNotAllowed {
		t.Errorf("another address must wait, too: %v", err)
	}
	b.now = b.now.Add(forgive)
	if _, err := a.Identify(bad, TLS); api.ErrorCode(err) != api.CodeNotAllowed {
		t.Errorf("after the wait: %v", err)
	}
	if _, err := a.Identify(bad, TLS); api.ErrorCode(err) != api.CodeBusy {
		t.Errorf("one wait buys one guess: %v", err)
	}
}

func TestSourcesAreBounded(t *testing.T) {
	l := limiter{sources: map[string]debt{}}
	now := start
	for i := range 3 * maxSources {
		l.fail(strconv.Itoa(i), now)
		if len(l.sources) > maxSources {
			t.Fatalf("%d sources are remembered", len(l.sources))
		}
	}
	for range maxFailures {
		l.fail("again", now)
	}
	if l.wait("again", now) == 0 {
		t.Error("a full table lets a new guesser continue")
	}
}

func FuzzTokenParsers(f *testing.F) {
	for _, s := range []string{"", "msc1-a.b", "msc1-a.b.abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrst", "msc1-a.b.c", "mst1-pine-id.secret.0123456789abcdef", "mst1--..", "msc1-.", "mst1-a-b.c.d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if token, err := api.ParseClientToken(s); err == nil {
			again, err := api.ParseClientToken(token.String())
			if err != nil || again != token {
				t.Errorf("%q: %+v, then %+v, %v", s, token, again, err)
			}
		}
		if j, err := api.ParseJoinToken(s); err == nil {
			if back, err := api.ParseJoinToken(j.String()); err != nil || back != j {
				t.Errorf("%q: %+v, then %+v, %v", s, j, back, err)
			}
		}
		b, a := newAuth()
		b.add(api.TokenRequest{Kind: api.TokenClient, Role: api.RoleAdmin})
		r := withHeader()
		r.Header["Authorization"] = []string{s}
		if id, _ := a.Identify(r, TLS); id.Role != api.RoleNone {
			t.Errorf("%q is %+v", s, id)
		}
	})
}

// TestStill: who may, may for as long as what it rests on stands.
func TestStill(t *testing.T) {
	b, a := newAuth()
	identify := func(r *http.Request, cred Credentials) Identity {
		t.Helper()
		i, err := a.Identify(r, cred)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	still := func(i Identity, want string) {
		t.Helper()
		err := a.Still(i)
		if want == "" && err != nil || want != "" && (api.ErrorCode(err) != api.CodeNotAllowed || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", i, err, want)
		}
	}
	tok, secret := b.add(api.TokenRequest{Kind: api.TokenClient, Role: api.RoleOperator, TTL: api.Duration(time.Hour)})
	i := identify(withHeader("Authorization", "Bearer "+secret), TLS)
	still(i, "")
	if left := a.Left(i); left != time.Hour {
		t.Errorf("%s left", left)
	}
	lesser := *tok
	lesser.Role = api.RoleViewer
	b.tokens[tok.ID] = &lesser
	still(i, "lost rights")
	lesser.Role, lesser.Rights = api.RoleOperator, []string{"admin@prod"}
	still(i, "")
	i = OfToken(&lesser)
	b.tokens[tok.ID] = tok
	still(i, "lost rights")
	b.now = start.Add(time.Hour)
	still(i, "expired")
	if left := a.Left(i); left <= 0 || left > time.Second {
		t.Errorf("%s left", left)
	}
	delete(b.tokens, tok.ID)
	still(i, "revoked")

	node := identify(withHeader("Cert", "n1"), TLS)
	still(node, "")
	b.nodes["n1"] = &api.Node{ID: "n1", Name: "oak", State: api.NodeGone}
	still(node, "was removed")
	// What another node vouched for, that one looks after.
	node.Forwarded = true
	still(node, "")
	still(Identity{Actor: "root", Role: api.RoleAdmin}, "")
}

// TestGuessesCountForWhoGuesses: wrong join tokens keep nobody out who shows a
// client token from the same address, nor one local user another; addresses of
// one /64 are one.
func TestGuessesCountForWhoGuesses(t *testing.T) {
	b, a := newAuth()
	_, good := b.add(api.TokenRequest{Kind: api.TokenClient, Role: api.RoleViewer})
	from := func(addr string, uid int, header ...string) *http.Request {
		r := withHeader(header...)
		r.RemoteAddr = addr
		if uid >= 0 {
			return r.WithContext(context.WithValue(r.Context(), peerKey{}, uint32(uid)))
		}
		return r
	}
	for range maxFailures {
		a.Failed(from("[2001:db8::1]:1", -1))
		a.Failed(from("@", 1000))
		_, _ = a.Identify(from("@", 1001, "Authorization", "Bearer x"), Unix)
	}
	for _, c := range []struct {
		r    *http.Request
		cred Credentials
		join bool
		busy bool
	}{
		{from("[2001:db8::2]:1", -1), TLS, true, true},
		{from("[2001:db8:0:1::2]:1", -1), TLS, true, false},
		{from("[2001:db8::1]:1", -1, "Authorization", "Bearer "+good), TLS, false, false},
		{from("@", 1000), Unix, true, true},
		{from("@", 1001), Unix, true, false},
		{from("@", 1001, "Authorization", "Bearer x"), Unix, false, true},
		{from("@", 1002, "Authorization", "Bearer x"), Unix, false, false},
		{from("@", 1000, "Authorization", "Bearer "+good), Unix, false, false},
	} {
		err := a.Allowed(c.r)
		if !c.join {
			_, err = a.Identify(c.r, c.cred)
		}
		var e *api.Error
		if busy := errors.As(err, &e) && e.Code == api.CodeBusy; busy != c.busy || busy && e.Retry <= 0 {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
