package auth

import (
	"cmp"
	"errors"
	"math"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// Credentials is how the callers of a listener may prove who they are.
type Credentials uint8

// The kinds of listener.
const (
	TLS       Credentials = iota // a node's certificate, or a bearer token
	Unix                         // the kernel's word for root and the daemon's user; a bearer token for others
	Bearer                       // a bearer token: plain HTTP on loopback
	Anybody                      // nothing: who shows no token is anonymous, and may deploy
	Open                         // the kernel's word for root and the daemon's user over TCP; a bearer token for others: `mesita dev --http`
	Outsiders                    // nothing on loopback: as Anybody, but a task shows a token
)

// Directory looks credentials up; a view of the state is one. What it returns
// is not changed.
type Directory interface {
	Token(id string) *api.Token
	Node(id string) *api.Node
}

// Config is what an Authenticator needs.
type Config struct {
	// Directory is the newest state.
	Directory func() Directory
	// Final reports whether a token that the directory lacks does not exist. It
	// is so on the leader; elsewhere the leader is asked.
	Final func() bool
	// NodeCert is the node whose verified certificate came with the request.
	NodeCert func(r *http.Request) (Peer, bool)
	// Admit says why a node is refused although its certificate is good: it was
	// removed, or nobody can tell now whether it was.
	Admit func(r *http.Request, nodeID string) error
	// Least reports whether all nodes pass on what users show rather than who they
	// say that users are: then no other's word counts than that of a voter.
	Least func() bool
	// Votes reports whether a node may speak for others.
	Votes func(Peer) bool
	// NoLocalAdmin reports whether root of a node that does not vote is not an admin, or
	// that this is not known here.
	NoLocalAdmin func() (bool, error)
	// Confines reports whether a process is one of a task's, which has no rights by the
	// user that it runs as; nil: there are no tasks.
	Confines func(pid int) bool
	// Node is the name of this node.
	Node string
	Now  func() time.Time
}

// Peer is the node that sent a request.
type Peer struct {
	ID      string
	Session string // of its daemon; "" if it does not say
	Voter   bool   // as its certificate says
}

// Authenticator finds out who calls. Its methods may be called from any
// goroutine.
type Authenticator struct {
	cfg     Config
	uid     uint32
	limiter limiter
	browser *http.CrossOriginProtection
}

// New makes an Authenticator. All of the Config is needed, except that without
// NodeCert no caller is a node, and what follows it is not asked.
func New(cfg Config) *Authenticator {
	return &Authenticator{cfg: cfg, uid: uint32(os.Getuid()), limiter: limiter{sources: map[string]debt{}}, browser: http.NewCrossOriginProtection()}
}

// Identify says who sent the request. A caller without credentials is the zero
// Identity and no error; wrong credentials are CodeNotAllowed, too many wrong
// ones CodeBusy.
func (a *Authenticator) Identify(r *http.Request, cred Credentials) (Identity, error) {
	if id, ok := r.Context().Value(callerKey{}).(Identity); ok {
		return id, nil
	}
	switch cred {
	case Open:
		if err := a.refuseBrowser(r); err != nil {
			return Identity{}, err
		}
		return a.open(r)
	case Unix:
		if uid, ok := peerUID(r.Context()); ok && (uid == 0 || uid == a.uid) {
			return a.localOrShown(r, api.LocalRoot)
		}
	case Anybody, Outsiders:
		if err := a.refuseForeign(r); err != nil {
			return Identity{}, err
		}
		if id, err := a.bearer(r, Source(r)); err != nil || id.Known() || id.Unverified {
			return id, err
		}
		if cred == Outsiders && !a.outside(r) {
			return Identity{}, nil
		}
		return anonymous(), nil
	case TLS:
		if a.cfg.NodeCert != nil {
			if p, ok := a.cfg.NodeCert(r); ok {
				return a.node(r, p)
			}
		}
	}
	return a.bearer(r, Source(r))
}

// localOrShown is who needs no credentials on this node, unless it shows a token: it wants
// to be who that says, and has no more rights, or it would take what root may do for
// what the token may.
func (a *Authenticator) localOrShown(r *http.Request, who string) (Identity, error) {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") && !(takesBasic(r) && strings.EqualFold(scheme, "Basic")) {
		return a.local(who), nil
	}
	id, err := a.bearer(r, Source(r))
	var e *api.Error
	if errors.As(err, &e) && e.Code == api.CodeNotAllowed {
		e.Message += "; without a token (MESITA_TOKEN) you need none here"
	}
	return id, err
}

// local is who needs no credentials on this node.
func (a *Authenticator) local(who string) Identity {
	return Identity{Actor: api.AtNode(who, a.cfg.Node), Local: who, Role: api.RoleAdmin}
}

// open is who calls a listener of this machine without credentials.
func (a *Authenticator) open(r *http.Request) (Identity, error) {
	uid, ok := tcpUID(r.Context())
	own := ok && (uid == 0 || uid == a.uid)
	inside := own && a.cfg.Confines != nil && tcpInside(r.Context(), a.cfg.Confines)
	switch {
	case own && !inside:
		return a.localOrShown(r, api.LocalDev)
	case r.Header.Get("Authorization") != "":
		return a.bearer(r, Source(r))
	case !ok:
		return Identity{}, api.Errorf(api.CodeNotAllowed, "the kernel does not say whose connection this is: use the socket, or show a client token, as of `mesita token create`")
	case inside:
		return Identity{}, api.Errorf(api.CodeNotAllowed, "a task has no rights by the user that it runs as: show a client token, as of `mesita token create`")
	}
	return Identity{}, api.Errorf(api.CodeNotAllowed, "without a token `mesita dev` serves root and the user that it runs as alone, and you are user %d: call it as that user, or show a client token, as of `mesita token create`", uid)
}

// outside reports whether it is certain that no task's process calls, whoever runs it.
func (a *Authenticator) outside(r *http.Request) bool {
	_, known := tcpUID(r.Context())
	return known && a.cfg.Confines != nil && !tcpInside(r.Context(), a.cfg.Confines)
}

// node is the identity of a peer, or the one that the peer vouches for.
func (a *Authenticator) node(r *http.Request, p Peer) (Identity, error) {
	name := p.ID
	if n := a.cfg.Directory().Node(p.ID); n != nil {
		if err := removed(n); err != nil {
			return Identity{}, err
		}
		name = n.Name
	}
	if err := a.cfg.Admit(r, p.ID); err != nil {
		return Identity{}, err
	}
	if r.Header.Get(HeaderForwarded) == "" {
		return Identity{Actor: "node:" + name, Role: api.RoleNode, NodeID: p.ID, Session: p.Session}, nil
	}
	id, err := forwarded(r.Header)
	switch {
	case err != nil:
	case id.Known():
		id, err = a.claimed(id, p, name)
	default:
		id, err = a.bearer(r, "") // the relaying node counts the wrong guesses
	}
	id.Forwarded, id.Via = true, name
	return id, err
}

// claimed is the identity that a node says a caller has, as far as the node may
// say so: a voter of anybody, another one only of its own machine's root.
func (a *Authenticator) claimed(id Identity, p Peer, name string) (Identity, error) {
	local := id.Role == api.RoleAdmin && (id.Actor == api.LocalRoot || id.Actor == api.LocalDev)
	switch {
	case !a.cfg.Least():
		return id, nil
	case !local && !a.cfg.Votes(p):
		return Identity{}, api.Errorf(api.CodeNotAllowed, "node %s may not speak for %s: it passes on what users show, and speaks for its own root", name, id.Actor)
	case local:
		id.Actor, id.NodeID, id.Session = api.AtNode(id.Actor, name), "", ""
		if a.cfg.Votes(p) {
			return id, nil
		}
		no, err := a.cfg.NoLocalAdmin()
		if err != nil {
			return Identity{}, err
		}
		if no {
			id.Role, id.Rights, id.Own = api.RoleViewer, "", p.ID
		}
	}
	return id, nil
}

func removed(n *api.Node) error {
	if n.State != api.NodeGone {
		return nil
	}
	return api.Errorf(api.CodeNotAllowed, "node %s was removed from the cluster: join again with a new token", n.Name)
}

// bearer checks a client token. Wrong guesses count by source and, if it
// exists, by the token guessed at, so that a guesser does not lock out the
// other users behind the same address; an empty source is not counted.
func (a *Authenticator) bearer(r *http.Request, from string) (Identity, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return Identity{}, nil
	}
	scheme, text, _ := strings.Cut(header, " ")
	name, secret, basic := r.BasicAuth()
	if basic = basic && takesBasic(r); basic {
		if err := a.refuseForeign(r); err != nil { // a browser shows what it was given once for whatever page it has
			return Identity{}, err
		}
		scheme, text = "Bearer", secret
	}
	shown, err := api.ParseClientToken(text)
	if err != nil || !strings.EqualFold(scheme, "Bearer") {
		return Identity{}, a.wrong(from, "is not a client token: it begins with msc1-; make one with `mesita token create`")
	}
	id := shown.ID
	tok, now := a.cfg.Directory().Token(id), a.cfg.Now()
	known := tok != nil && tok.Kind == api.TokenClient
	key := from
	if known && from != "" {
		key += " " + id
	}
	if err := a.mustWait(key, now); err != nil {
		return Identity{}, err
	}
	switch {
	case !known && !a.cfg.Final():
		return Identity{Unverified: true}, nil
	case !known || !Matches(tok, shown.Secret):
		return Identity{}, a.wrong(key, "is not valid: it was revoked, belongs to another cluster, or is altered")
	}
	if err := expired(tok, now); err != nil {
		return Identity{}, err
	}
	if basic && name != tok.Name && name != tok.ID {
		return Identity{}, denied("is of " + cmp.Or(tok.Name, tok.ID) + ", and shown as the secret of " + strconv.Quote(name) + ": give the token's own name as the principal")
	}
	return OfToken(tok), withRights(tok)
}

// OfToken is whoever shows a client token.
func OfToken(t *api.Token) Identity {
	name := t.Name
	if name == "" {
		name = t.ID
	}
	return Identity{Actor: "token:" + name, Role: t.Role, Rights: strings.Join(t.Rights, ","), Token: t.ID, RunAs: t.RunAs}
}

// withRights refuses a token that no rights are left of.
func withRights(t *api.Token) error {
	if t.Role == api.RoleNone && len(t.Rights) == 0 {
		return denied("has no rights any more: ask an admin for one with `mesita role grant`")
	}
	return nil
}

func expired(t *api.Token, now time.Time) error {
	if t.Expires.IsZero() || now.Before(t.Expires) {
		return nil
	}
	return denied("expired at " + t.Expires.Format(time.RFC3339) + ": make a new one with `mesita token create`")
}

// Still says why somebody whom Identify found may not continue; nil = it may. Who
// lost a right since begins anew. A caller whose credentials another node checked
// may.
func (a *Authenticator) Still(i Identity) error {
	switch {
	case i.Token != "":
		tok := a.cfg.Directory().Token(i.Token)
		if tok == nil {
			return denied("was revoked")
		}
		if err := expired(tok, a.cfg.Now()); err != nil {
			return err
		}
		return i.Became(OfToken(tok))
	case i.NodeID != "" && !i.Forwarded:
		if n := a.cfg.Directory().Node(i.NodeID); n != nil {
			return removed(n)
		}
	}
	return nil
}

// Became refuses to continue if somebody who is another by now lost a right.
func (i Identity) Became(now Identity) error {
	if now.keeps(i) {
		return nil
	}
	return denied("has lost rights since, and has the role " + now.Has() + " now: begin anew")
}

// Left is how long what the identity rests on lives at most; it is above 0.
func (a *Authenticator) Left(i Identity) time.Duration {
	const long = 24 * time.Hour
	tok := a.cfg.Directory().Token(i.Token)
	if tok == nil || tok.Expires.IsZero() {
		return long
	}
	return min(max(tok.Expires.Sub(a.cfg.Now()), time.Millisecond), long)
}

func denied(why string) *api.Error {
	return &api.Error{Code: api.CodeNotAllowed, Field: "token", Message: why}
}

func (a *Authenticator) wrong(key, why string) error {
	now := a.cfg.Now()
	if err := a.mustWait(key, now); err != nil {
		return err
	}
	if key != "" {
		a.limiter.fail(key, now)
	}
	return denied(why)
}

func (a *Authenticator) mustWait(key string, now time.Time) error {
	if d := a.limiter.wait(key, now); d > 0 {
		e := api.Errorf(api.CodeBusy, "too many wrong credentials came from this address: try again in %d s", int(math.Ceil(d.Seconds())))
		e.Retry = d
		return e
	}
	return nil
}

// Allowed refuses a request from an address with too many wrong guesses, for
// secrets that somebody else checks.
func (a *Authenticator) Allowed(r *http.Request) error { return a.mustWait(bucket(r), a.cfg.Now()) }

// Failed counts a wrong guess that somebody else found.
func (a *Authenticator) Failed(r *http.Request) { a.limiter.fail(bucket(r), a.cfg.Now()) }

// bucket is what a wrong guess counts for: who guesses join tokens does not keep
// those out who show their own client tokens from the same address.
func bucket(r *http.Request) string {
	if r.Header.Get("Authorization") != "" {
		return Source(r)
	}
	return "join " + Source(r)
}

// refuseBrowser keeps web pages away from a listener that asks for nothing: a
// page of another origin, and one whose own name was pointed at this machine.
func (a *Authenticator) refuseBrowser(r *http.Request) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host != "localhost" && net.ParseIP(strings.Trim(host, "[]")) == nil {
		return api.Errorf(api.CodeNotAllowed, "the host %q is not this machine: call it by its address or as localhost", host)
	}
	return a.refuseForeign(r)
}

// FieldOrigin is the field of the refusal of a page of another origin, whose user has
// nothing to show that would help.
const FieldOrigin = "Origin"

// refuseForeign refuses what a browser asks for a page of another origin, but to read,
// whose answer the browser does not let it see. Programs do not say where they come from.
func (a *Authenticator) refuseForeign(r *http.Request) error {
	if err := a.browser.Check(r); err != nil {
		return &api.Error{Code: api.CodeNotAllowed, Field: FieldOrigin, Message: "a web page of another origin may not do this: " + err.Error()}
	}
	return nil
}
