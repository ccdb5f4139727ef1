package auth

import (
	"net/http"

	"github.com/mesita/mesita/api"
)

// Headers that carry a verified identity from the node that verified it to the
// node that acts. They count only between nodes.
const (
	HeaderForwarded = "X-Mesita-Forwarded"
	HeaderActor     = "X-Mesita-Actor"
	HeaderRole      = "X-Mesita-Role"
	HeaderNode      = "X-Mesita-Node"
	HeaderSession   = "X-Mesita-Session"
)

// Identity is who calls. The zero value is somebody without credentials.
type Identity struct {
	Actor      string // as events name it: "root", "token:ci", "node:oak"
	Role       api.Role
	NodeID     string // of a node's identity
	Session    string // of that node's daemon
	Token      string // the id of the client token that was shown, to this node
	Forwarded  bool   // another node relayed the request
	Unverified bool   // shows a token that only the leader can check
}

// Check refuses an identity whose role is below the one needed.
func (i Identity) Check(need api.Role) error {
	switch {
	case i.Role == api.RoleNode && need != api.RoleNode && need != api.RoleNone:
		return api.Errorf(api.CodeNotAllowed, "a node may not do this in its own name: it passes on what a user shows")
	case i.Role >= need:
		return nil
	case i.Role == api.RoleNone:
		return api.Errorf(api.CodeNotAllowed, "credentials are needed: log in with `mesita login`, set MESITA_TOKEN, or run the command as root on a node")
	case need == api.RoleNode:
		return api.Errorf(api.CodeNotAllowed, "only nodes of the cluster may do this")
	}
	return api.Errorf(api.CodeNotAllowed, "the role %s may not do this: it takes a token with the role %s", i.Role, need)
}

// Forward writes the identity into the headers of a request to another node,
// which believes it as far as this one may speak.
func (i Identity) Forward(h http.Header) {
	h.Set(HeaderForwarded, "1")
	if i.Role == api.RoleNone {
		return
	}
	h.Set(HeaderActor, i.Actor)
	h.Set(HeaderRole, i.Role.String())
	if i.NodeID != "" {
		h.Set(HeaderNode, i.NodeID)
		h.Set(HeaderSession, i.Session)
	}
}

// PassOn writes the credentials of a caller, as header has them, into those of a
// request to the leader, so that it checks them itself; an identity without a
// token is told as Forward does.
func (i Identity) PassOn(h, header http.Header) {
	if i.Token == "" && !i.Unverified {
		i.Forward(h)
		return
	}
	h.Set(HeaderForwarded, "1")
	h["Authorization"] = header["Authorization"]
}

// forwarded reads what Forward wrote. Only a node's request may get here.
func forwarded(h http.Header) (Identity, error) {
	id := Identity{Forwarded: true}
	if h.Get(HeaderActor) == "" {
		return id, nil
	}
	id.Actor, id.NodeID, id.Session = h.Get(HeaderActor), h.Get(HeaderNode), h.Get(HeaderSession)
	if err := id.Role.UnmarshalText([]byte(h.Get(HeaderRole))); err != nil {
		return Identity{}, api.Errorf(api.CodeNotAllowed, "the relaying node sent %v", err)
	}
	return id, nil
}
