package auth

import (
	"cmp"
	"iter"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
)

// Headers that carry a verified identity from the node that verified it to the
// node that acts. They count only between nodes.
const (
	HeaderForwarded = "X-Mesita-Forwarded"
	HeaderActor     = "X-Mesita-Actor"
	HeaderRole      = "X-Mesita-Role"
	HeaderRights    = "X-Mesita-Rights"
	HeaderNode      = "X-Mesita-Node"
	HeaderSession   = "X-Mesita-Session"
	HeaderOwn       = "X-Mesita-Own"

	// HeaderFrom is where the request came from, as the node saw it that took it.
	HeaderFrom = "X-Mesita-From"
)

// Identity is who calls. The zero value is somebody without credentials.
type Identity struct {
	Actor      string   // as events name it: "root@oak", "token:ci", "node:oak"
	Local      string   // of who needs no credentials on this node: the actor without the node's name
	Role       api.Role // in the whole cluster
	Rights     string   // what it may beside, as api.Right writes them, with commas
	NodeID     string   // of a node's identity
	Session    string   // of that node's daemon
	Token      string   // the id of the client token that was shown, to this node
	RunAs      string   // who the tasks of that token's jobs run as; "" = as the partition says
	Own        string   // the id of a node: its root, who is not an admin, and sees that node alone
	Forwarded  bool     // another node relayed the request
	Via        string   // the name of that node
	Unverified bool     // shows a token that only the leader can check
	Checked    bool     // shows a token that the leader has checked for this node
}

// OnlyOwn refuses who may see its own node alone.
func (i Identity) OnlyOwn() error {
	if i.Own == "" {
		return nil
	}
	return api.Errorf(api.CodeNotAllowed, "%s may see its own node alone, as an admin has set for machines that do not vote (`mesita cluster set --no-local-admin`): show a client token, or do this on a voter", i.Actor)
}

// Known reports whether somebody has any rights.
func (i Identity) Known() bool { return i.Role != api.RoleNone || i.Rights != "" }

// Has names all that somebody may.
func (i Identity) Has() string {
	switch {
	case i.Rights == "":
		return i.Role.String()
	case i.Role == api.RoleNone:
		return i.Rights
	}
	return i.Role.String() + "," + i.Rights
}

// rights are those of a user.
func (i Identity) rights() iter.Seq[right] {
	return func(yield func(right) bool) {
		if i.Role != api.RoleNone && !yield(right{api.Right{Role: i.Role.String()}}) || i.Rights == "" {
			return
		}
		for s := range strings.SplitSeq(i.Rights, ",") {
			if r, err := api.ParseRight(s); err == nil && !yield(right{r}) {
				return
			}
		}
	}
}

// keeps reports whether somebody may all that before might.
func (i Identity) keeps(before Identity) bool {
	if i.Role < before.Role {
		return false
	}
	have := strings.Split(i.Rights, ",")
	for s := range strings.SplitSeq(before.Rights, ",") {
		if s != "" && !slices.Contains(have, s) {
			return false
		}
	}
	return true
}

// Forward writes the identity into the headers of a request to another node,
// which believes it as far as this one may speak.
func (i Identity) Forward(h http.Header) {
	h.Set(HeaderForwarded, "1")
	if !i.Known() {
		return
	}
	if i.Rights != "" {
		h.Set(HeaderRights, i.Rights)
	}
	h.Set(HeaderActor, cmp.Or(i.Local, i.Actor)) // the next adds this node's name, by the certificate
	h.Set(HeaderRole, i.Role.String())
	if i.Own != "" {
		h.Set(HeaderOwn, i.Own)
	}
	if i.NodeID != "" {
		h.Set(HeaderNode, i.NodeID)
		h.Set(HeaderSession, i.Session)
	}
}

// PassOn writes the credentials of a caller, as header has them, into those of a
// request to the leader, so that it checks them itself; an identity without a
// token is told as Forward does.
func (i Identity) PassOn(h, header http.Header) {
	if i.Token == "" && !i.Unverified && !i.Checked {
		i.Forward(h)
		return
	}
	h.Set(HeaderForwarded, "1")
	h["Authorization"] = header["Authorization"]
}

// maxFrom bounds what another node says of where a request came from.
const maxFrom = 64

// From is where a request of that identity came from: an address or a user of a
// machine, as the node saw it that took the request from the caller.
func (i Identity) From(r *http.Request) string {
	if i.Forwarded {
		from := r.Header.Get(HeaderFrom)
		return from[:min(len(from), maxFrom)]
	}
	if uid, ok := peerUID(r.Context()); ok {
		return userName(uid)
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// forwarded reads what Forward wrote. Only a node's request may get here.
func forwarded(h http.Header) (Identity, error) {
	id := Identity{Forwarded: true}
	if h.Get(HeaderActor) == "" {
		return id, nil
	}
	id.Actor, id.NodeID, id.Session = h.Get(HeaderActor), h.Get(HeaderNode), h.Get(HeaderSession)
	id.Own = h.Get(HeaderOwn)
	if err := id.Role.UnmarshalText([]byte(h.Get(HeaderRole))); err != nil {
		return Identity{}, api.Errorf(api.CodeNotAllowed, "the relaying node sent %v", err)
	}
	if id.Rights = h.Get(HeaderRights); id.Rights != "" {
		if err := api.ValidateRights("rights", strings.Split(id.Rights, ",")); err != nil {
			return Identity{}, api.Errorf(api.CodeNotAllowed, "the relaying node sent %v", err)
		}
	}
	return id, nil
}
