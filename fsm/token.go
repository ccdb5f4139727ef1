package fsm

import (
	"iter"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

var tokenNoun = noun[api.Token]{
	less:     func(a, b *api.Token) bool { return a.ID < b.ID },
	watch:    TableTokens,
	id:       func(t *api.Token) string { return t.ID },
	revision: func(t *api.Token) *uint64 { return &t.Revision },
	forms:    []form[api.Token]{{record: recToken}},
}

var blobNoun = noun[api.Blob]{
	less:     func(a, b *api.Blob) bool { return a.Digest < b.Digest },
	watch:    TableBlobs,
	id:       func(b *api.Blob) string { return b.Digest },
	revision: func(b *api.Blob) *uint64 { return &b.Revision },
	forms:    []form[api.Blob]{{record: recBlob}},
}

// maxTokens bounds the tokens a cluster keeps.
const maxTokens = 10_000

// TokenCreate adds a token. Below the level of ForgetByAge, tokens that expired
// a day ago are forgotten.
type TokenCreate struct {
	Meta
	Token *api.Token `json:"token"`
}

func (c *TokenCreate) apply(x *tx) (any, error) {
	var old []*api.Token
	for t := range x.tokens.all() {
		if !x.does(ForgetByAge) && !t.Expires.IsZero() && c.At.Sub(t.Expires).Hours() > 24 {
			old = append(old, t)
		}
	}
	for _, t := range old {
		x.tokens.delete(x, t)
		x.happened(api.Event{Kind: api.EventTokenRevoked, Object: t.ID, Message: "expired, and is forgotten"})
	}
	if x.tokens.len() >= maxTokens {
		return nil, conflict("there are %s already: revoke some", api.Count(maxTokens, "token"))
	}
	if x.tokens.get(c.Token) != nil {
		return nil, conflict("token %s exists", c.Token.ID)
	}
	x.tokens.put(x, c.Token)
	x.happened(api.Event{Kind: api.EventTokenCreated, Object: c.Token.ID, Message: tokenText(c.Token)})
	return c.Token, nil
}

// SparesTokens is the time up to at, as late as can be, by which a TokenCreate
// forgets none: for a clock that may be ahead.
func (v *View) SparesTokens(at time.Time) time.Time {
	if v.Does(ForgetByAge) {
		return at
	}
	for t := range v.Tokens() {
		if last := t.Expires.Add(24 * time.Hour); !t.Expires.IsZero() && last.Before(at) {
			at = last
		}
	}
	return at
}

// tokenText is what an event says of a token: never its secret or its hash.
func tokenText(t *api.Token) string {
	s := t.Kind.String() + " token"
	if t.Name != "" {
		s += " " + t.Name
	}
	if t.Kind == api.TokenClient {
		s += ", " + t.Has()
		if t.RunAs != "" {
			s += ", runs tasks as " + t.RunAs
		}
	}
	return s
}

// TokenRevoke removes a token.
type TokenRevoke struct {
	Meta
	ID string `json:"id"`
}

func (c *TokenRevoke) apply(x *tx) (any, error) {
	old := x.tokens.delete(x, &api.Token{ID: c.ID})
	if old == nil {
		return nil, api.NotFound("token", c.ID)
	}
	x.happened(api.Event{Kind: api.EventTokenRevoked, Object: c.ID, Message: "asked for: " + tokenText(old)})
	return nil, nil
}

// TokenRights grants and revokes rights of the client tokens of a name, or of
// the one of an id. Its value is how many tokens that were.
type TokenRights struct {
	Meta
	Of     string   `json:"of"`
	Grant  []string `json:"grant,omitempty"`
	Revoke []string `json:"revoke,omitempty"`
}

func (c *TokenRights) apply(x *tx) (any, error) {
	change := api.RightsChange{Grant: c.Grant, Revoke: c.Revoke}
	if err := change.Validate(); err != nil {
		return nil, err
	}
	var tokens []*api.Token
	missing := slices.Clone(c.Revoke)
	for t := range x.tokens.all() {
		if t.Kind != api.TokenClient || t.ID != c.Of && (c.Of == "" || t.Name != c.Of) {
			continue
		}
		missing = slices.DeleteFunc(missing, func(r string) bool { return r == t.Role.String() || slices.Contains(t.Rights, r) })
		next := *t
		if slices.Contains(c.Revoke, t.Role.String()) {
			next.Role = api.RoleNone
		}
		next.Rights = nil
		for _, r := range slices.Concat(t.Rights, c.Grant) {
			if r != next.Role.String() && !slices.Contains(next.Rights, r) && !slices.Contains(c.Revoke, r) {
				next.Rights = append(next.Rights, r)
			}
		}
		if len(next.Rights) > api.MaxRights {
			return nil, conflict("token %s would have %s, at most %d are allowed: revoke some", t.ID, api.Count(len(next.Rights), "right"), api.MaxRights)
		}
		tokens = append(tokens, &next)
	}
	switch {
	case len(tokens) == 0:
		return nil, api.NotFound("token", c.Of)
	case len(missing) > 0:
		return nil, conflict("%s has no right %s: `mesita role ls` lists them", c.Of, missing[0])
	}
	for _, t := range tokens {
		if x.does(RightsTold) {
			t.RightsSince = x.event + 1
		}
		x.tokens.put(x, t)
		x.happened(api.Event{Kind: api.EventTokenRights, Object: t.ID, Message: tokenText(t)})
	}
	return len(tokens), nil
}

// BlobPut records that a node holds an uploaded program.
type BlobPut struct {
	Meta
	Blob   *api.Blob `json:"blob"`
	NodeID string    `json:"nodeID"`
}

func (c *BlobPut) apply(x *tx) (any, error) {
	b := *c.Blob
	if old := x.blobs.get(&b); old != nil {
		if slices.Contains(old.Nodes, c.NodeID) {
			return old, nil
		}
		b = *old
	}
	b.Nodes = append(slices.Clone(b.Nodes), c.NodeID)
	x.blobs.put(x, &b)
	x.happened(api.Event{Kind: api.EventBlobAdded, Object: b.Digest, Message: b.Name})
	return &b, nil
}

// BlobRemove forgets uploaded programs that no job uses. Its value is how many.
type BlobRemove struct {
	Meta
	Digests []string `json:"digests"`
}

func (c *BlobRemove) apply(x *tx) (any, error) {
	n := 0
	for _, d := range c.Digests {
		if get(x.programs.BTreeG, &programRow{digest: d}) != nil { // a job uses it
			continue
		}
		if x.blobs.delete(x, &api.Blob{Digest: d}) != nil {
			x.happened(api.Event{Kind: api.EventBlobRemoved, Object: d, Message: "no job uses it"})
			n++
		}
	}
	return n, nil
}

// Token is nil if there is none with that id.
func (v *View) Token(id string) *api.Token { return v.t.tokens.get(&api.Token{ID: id}) }

// Tokens lists all tokens by id.
func (v *View) Tokens() iter.Seq[*api.Token] { return v.t.tokens.all() }

// Blob is nil if there is none with that digest.
func (v *View) Blob(digest string) *api.Blob { return v.t.blobs.get(&api.Blob{Digest: digest}) }

// Blobs lists all uploaded programs by digest.
func (v *View) Blobs() iter.Seq[*api.Blob] { return v.t.blobs.all() }
