package fsm

import (
	"slices"
	"testing"

	"github.com/mesita/mesita/api"
)

// TestTokenRights: rights are granted and revoked by the name of tokens, all or none.
func TestTokenRights(t *testing.T) {
	s := storeAt(t, Newest)
	do := func(c Command, want api.Code) {
		t.Helper()
		if _, err := s.Do(t.Context(), c); api.ErrorCode(err) != want {
			t.Fatalf("%+v: %v, want %q", c, err, want)
		}
	}
	for _, tok := range []*api.Token{
		{ID: "a", Kind: api.TokenClient, Name: "ci", Role: api.RoleOperator}, {ID: "b", Kind: api.TokenClient, Name: "ci", Rights: []string{"viewer@prod"}},
		{ID: "c", Kind: api.TokenClient, Role: api.RoleViewer}, {ID: "j", Kind: api.TokenJoin, Name: "ci"},
	} {
		do(&TokenCreate{Token: tok}, "")
	}
	has := func(id string, want string) {
		t.Helper()
		if got := s.View().Token(id).Has(); got != want {
			t.Errorf("%s has %s, want %s", id, got, want)
		}
	}
	do(&TokenRights{Of: "ci", Grant: []string{"deployer@prod", "operator"}}, "")
	has("a", "operator,deployer@prod")
	has("b", "viewer@prod,deployer@prod,operator")
	before := s.View().Token("a").Revision
	do(&TokenRights{Of: "ci", Grant: []string{"viewer"}, Revoke: []string{"admin"}}, api.CodeConflict)
	do(&TokenRights{Of: "ci", Grant: []string{"king"}}, api.CodeInvalid)
	do(&TokenRights{Of: "ci"}, api.CodeInvalid)
	do(&TokenRights{Of: "nobody", Grant: []string{"viewer"}}, api.CodeNotFound)
	do(&TokenRights{Grant: []string{"viewer"}}, api.CodeNotFound)
	do(&TokenRights{Of: "j", Grant: []string{"viewer"}}, api.CodeNotFound)
	if s.View().Token("a").Revision != before {
		t.Error("what was refused changed a token")
	}
	do(&TokenRights{Of: "ci", Revoke: []string{"operator", "deployer@prod"}}, "")
	has("a", "none")
	has("b", "viewer@prod")
	has("c", "viewer")
	if tok := s.View().Token("a"); tok.Role != api.RoleNone || slices.Contains(tok.Rights, "operator") {
		t.Errorf("%+v", tok)
	}
	var many []string
	for _, p := range "abcdefghijklmnopqrstuvwxyz0123456" {
		many = append(many, "viewer@x"+string(p))
	}
	do(&TokenRights{Of: "c", Grant: many[:api.MaxRights]}, "")
	do(&TokenRights{Of: "c", Grant: many[api.MaxRights:]}, api.CodeConflict)
	for level := Level(0); level < 3; level++ {
		old := storeAt(t, level)
		for _, c := range []Command{&TokenRights{Of: "a", Grant: []string{"viewer"}}, &TokenCreate{Token: &api.Token{ID: "x", Kind: api.TokenClient, Rights: []string{"deployer@prod"}}}} {
			if _, err := old.Do(t.Context(), c); api.ErrorCode(err) != api.CodeConflict {
				t.Errorf("%T at level %d: %v", c, level, err)
			}
		}
	}
}
