package server

import (
	"net/http"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// shown is a token without its hash.
func shown(t *api.Token) *api.Token {
	out := *t
	out.Hash = ""
	return &out
}

func listTokens(c *call) (any, error) {
	var kind api.TokenKind
	byKind := c.Query.Enum("kind", &kind)
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	v := c.Store.View()
	return exchange.List{Items: func(yield func(any) bool) {
		for t := range v.Tokens() {
			if (!byKind || t.Kind == kind) && !yield(shown(t)) {
				return
			}
		}
	}}, nil
}

func createToken(c *call) (any, error) {
	var body struct {
		Kind *api.TokenKind `json:"kind"` // left out it would be that of a join token
		api.TokenRequest
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if body.Kind == nil {
		return nil, api.FieldErrorf("kind", "is missing: join lets a node in, client is for a user or a program")
	}
	in := body.TokenRequest
	in.Kind = *body.Kind
	if err := in.Validate(); err != nil {
		return nil, err
	}
	v := c.Store.View()
	if err := inPartitions("rights", v, in.Rights); err != nil {
		return nil, err
	}
	cluster, authority := v.Cluster(), v.Authority()
	if cluster == nil || authority == nil {
		return nil, api.Errorf(api.CodeUnavailable, "the cluster is not made yet: try again in a moment")
	}
	if in.Kind == api.TokenJoin && v.Does(fsm.VoterTokens) && !in.Voter && !in.VoterOnly && v.MayVote() >= api.FewVoters {
		in.WorkerOnly = true // the key of the CA is for few
	}
	t, secret := auth.NewToken(&in, c.Now())
	meta := c.Meta()
	if c.Forgets != nil && !c.Forgets() {
		meta.At = v.SparesTokens(meta.At)
	}
	if _, err := c.Do(&fsm.TokenCreate{Meta: meta, Token: t}); err != nil {
		return nil, err
	}
	client := api.ClientToken{ID: t.ID, Secret: secret}
	if v.Does(fsm.PinnedTokens) {
		client.Pin = authority.TokenPin()
	}
	whole := client.String()
	if t.Kind == api.TokenJoin {
		whole = api.JoinToken{Cluster: cluster.Name, ID: t.ID, Secret: secret, Pin: authority.TokenPin()}.String()
	}
	return exchange.With{Status: http.StatusCreated, Value: api.TokenGrant{Token: shown(t), Secret: whole}}, nil
}

func revokeToken(c *call) (any, error) {
	_, err := c.Do(&fsm.TokenRevoke{Meta: c.Meta(), ID: c.Args[0]})
	return removed{1}, err
}
