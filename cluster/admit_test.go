package cluster

import (
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
)

// A join with a token that is not good costs no log entry, and is refused in the
// words of apply.
func TestBadJoinWritesNothing(t *testing.T) {
	now := time.Unix(1e9, 0).UTC()
	store := fsm.NewStore(nil)
	do := func(c fsm.Command) error {
		_, err := store.Do(t.Context(), c)
		return err
	}
	meta := fsm.Meta{At: now, Actor: "test"}
	tokens := map[string]*api.Token{
		"expired": {ID: "expired", Kind: api.TokenJoin, Expires: now.Add(-time.Hour)}, "used": {ID: "used", Kind: api.TokenJoin, MaxUses: 1, Uses: 1},
		"client": {ID: "client", Kind: api.TokenClient}, "voter": {ID: "voter", Kind: api.TokenJoin, VoterOnly: true}, "good": {ID: "good", Kind: api.TokenJoin},
	}
	if err := do(&fsm.ClusterInit{Meta: meta, Cluster: &api.Cluster{ID: "c1", Name: "pine"}, Authority: &api.Authority{Pin: "p"}, Node: &api.Node{ID: "n1", Name: "oak"}}); err != nil {
		t.Fatal(err)
	}
	for _, tok := range tokens {
		tok.Hash = auth.Hash("secret")
		if err := do(&fsm.TokenCreate{Meta: meta, Token: tok}); err != nil {
			t.Fatal(err)
		}
	}
	key, err := tlsconf.NewNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := key.CSR()
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{store: store, cfg: Config{Now: func() time.Time { return now }}}
	for _, token := range []string{"none.secret", "good.wrong", "good", "", "expired.secret", "used.secret", "client.secret", "voter.secret"} {
		before := store.View().Index()
		_, err := a.admit(t.Context(), api.JoinRequest{Token: token, CSR: csr, Name: "fir", Cluster: "pine"})
		if api.ErrorCode(err) != api.CodeNotAllowed {
			t.Errorf("%q: %v", token, err)
		}
		if at := store.View().Index(); at != before {
			t.Errorf("%q: the log went from %d to %d", token, before, at)
		}
		id, secret := splitToken(token)
		if said := do(&fsm.NodeJoin{Meta: meta, Token: id, Hash: auth.Hash(secret), NodeID: key.ID(), Name: "fir"}); said == nil || err == nil || said.Error() != err.Error() {
			t.Errorf("%q: apply says %v, and the check before it %v", token, said, err)
		}
	}
}
