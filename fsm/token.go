package fsm

import (
	"slices"

	"github.com/mesita/mesita/api"
)

// maxTokens bounds the tokens a cluster keeps.
const maxTokens = 10_000

// TokenCreate adds a token; tokens that expired a day ago are forgotten.
type TokenCreate struct {
	Meta
	Token *api.Token `json:"token"`
}

func (c *TokenCreate) apply(x *tx) (any, error) {
	var old []*api.Token
	x.tokens.Ascend(func(t *api.Token) bool {
		if !t.Expires.IsZero() && c.At.Sub(t.Expires).Hours() > 24 {
			old = append(old, t)
		}
		return true
	})
	for _, t := range old {
		x.tokens.Delete(t)
		x.happened(api.Event{Kind: api.EventTokenRevoked, Object: t.ID, Message: "expired, and is forgotten"})
	}
	if x.tokens.Len() >= maxTokens {
		return nil, conflict("there are %d tokens already: revoke some", maxTokens)
	}
	if get(x.tokens, c.Token) != nil {
		return nil, conflict("token %s exists", c.Token.ID)
	}
	x.tokens.ReplaceOrInsert(c.Token)
	x.touch(TableTokens, c.Token.ID)
	x.happened(api.Event{Kind: api.EventTokenCreated, Object: c.Token.ID, Message: tokenText(c.Token)})
	return c.Token, nil
}

// tokenText is what an event says of a token: never its secret or its hash.
func tokenText(t *api.Token) string {
	s := t.Kind.String() + " token"
	if t.Name != "" {
		s += " " + t.Name
	}
	if t.Kind == api.TokenClient {
		s += ", " + t.Role.String()
	}
	return s
}

// TokenRevoke removes a token.
type TokenRevoke struct {
	Meta
	ID string `json:"id"`
}

func (c *TokenRevoke) apply(x *tx) (any, error) {
	old, ok := x.tokens.Delete(&api.Token{ID: c.ID})
	if !ok {
		return nil, notFound("token", c.ID)
	}
	x.touch(TableTokens, c.ID)
	x.happened(api.Event{Kind: api.EventTokenRevoked, Object: c.ID, Message: "asked for: " + tokenText(old)})
	return nil, nil
}

// BlobPut records that a node holds an uploaded program.
type BlobPut struct {
	Meta
	Blob   *api.Blob `json:"blob"`
	NodeID string    `json:"nodeID"`
}

func (c *BlobPut) apply(x *tx) (any, error) {
	b := *c.Blob
	if old := get(x.blobs, &b); old != nil {
		if slices.Contains(old.Nodes, c.NodeID) {
			return old, nil
		}
		b = *old
	}
	b.Nodes = append(slices.Clone(b.Nodes), c.NodeID)
	x.blobs.ReplaceOrInsert(&b)
	x.touch(TableBlobs, b.Digest)
	x.happened(api.Event{Kind: api.EventBlobAdded, Object: b.Digest, Message: b.Name})
	return &b, nil
}

// BlobRemove forgets uploaded programs that no job uses. Its value is how many.
type BlobRemove struct {
	Meta
	Digests []string `json:"digests"`
}

func (c *BlobRemove) apply(x *tx) (any, error) {
	used := map[string]bool{}
	x.jobs.Ascend(func(j *api.Job) bool {
		used[j.Spec.Program] = true
		for i := range j.History {
			used[j.History[i].Spec.Program] = true
		}
		return true
	})
	n := 0
	for _, d := range c.Digests {
		if used[d] {
			continue
		}
		if _, ok := x.blobs.Delete(&api.Blob{Digest: d}); ok {
			x.touch(TableBlobs, d)
			x.happened(api.Event{Kind: api.EventBlobRemoved, Object: d, Message: "no job uses it"})
			n++
		}
	}
	return n, nil
}
