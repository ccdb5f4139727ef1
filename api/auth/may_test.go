package auth

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// The rules, written out again: what each role adds, and where. It is not made
// from the code on purpose.
var adds = map[string]string{
	"viewer":   "look logs",
	"deployer": "deploy exec upload fetch values",
	"operator": "close-incidents",
	"admin":    "manage-partitions manage-nodes manage-tokens manage-cluster",
}

// TestTheMatrix: each role, of each scope, for each action, on each object.
func TestTheMatrix(t *testing.T) {
	places := map[string]Object{ // by what the rules call them
		"cluster": {}, "prod": {Partition: "prod"}, "prod/eu": {Partition: "prod/eu"}, "production": {Partition: "production"}, "dev": {Partition: "dev"},
		"prod/web-1": {Partition: "prod", Job: "web-1"}, "prod/eu/web-1": {Partition: "prod/eu", Job: "web-1"}, "prod/db": {Partition: "prod", Job: "db"}, "dev/web-1": {Partition: "dev", Job: "web-1"}, "production/web": {Partition: "production", Job: "web"},
	}
	covers := map[string]string{
		"":            "cluster prod prod/eu production dev prod/web-1 prod/eu/web-1 prod/db dev/web-1 production/web",
		"@prod":       "prod prod/eu prod/web-1 prod/eu/web-1 prod/db",
		"@prod/eu":    "prod/eu prod/eu/web-1",
		"@prod/web-*": "prod/web-1 prod/eu/web-1",
		"@web-*":      "prod/web-1 prod/eu/web-1 dev/web-1",
	}
	has := func(list, word string) bool { return strings.Contains(" "+list+" ", " "+word+" ") }
	n := 0
	for scope, covered := range covers {
		for rank, role := range api.RightRoles {
			if _, err := api.ParseRight(role + scope); err != nil {
				if rank < 2 || !strings.HasSuffix(scope, "*") {
					t.Errorf("%s%s: %v", role, scope, err)
				}
				continue
			}
			for _, name := range Actions() {
				a, _ := ActionOf(name)
				for place, on := range places {
					if a == ManagePartitions && on.Job != "" {
						continue // it is about none
					}
					want := false
					for _, lower := range api.RightRoles[:rank+1] {
						want = want || has(adds[lower], name)
					}
					where := has(covered, place)
					if name == "manage-partitions" && scope == "@"+place {
						where = false // its own share is decided on above
					}
					want = want && (where || name == "look")
					id := Identity{Actor: "token:ci", Rights: role + scope}
					if err := May(id, a, on); (err == nil) != want || err != nil && api.ErrorCode(err) != api.CodeNotAllowed {
						t.Errorf("%s%s: %s on %s: %v", role, scope, name, place, err)
					}
					if err := May(id, a, on); err != nil && !strings.HasSuffix(err.Error(), " has "+id.Rights) {
						t.Errorf("the refusal does not say what token:ci has, %s: %v", id.Rights, err)
					}
					if scope == "" && role != "deployer" { // the roles of tokens that were made before there were rights
						var old api.Role
						if err := old.UnmarshalText([]byte(role)); err != nil {
							t.Fatal(err)
						}
						if (May(Identity{Actor: "token:ci", Role: old}, a, on) == nil) != want {
							t.Errorf("the role %s: %s on %s is not as the right", role, name, place)
						}
					}
					// Rights add up: a second one takes nothing.
					id.Rights = "viewer@dev/x*," + id.Rights
					if want && May(id, a, on) != nil {
						t.Errorf("%s with another right: %s on %s", id.Rights, name, place)
					}
					for _, nobody := range []Identity{{}, {Actor: "node:oak", Role: api.RoleNode, NodeID: "n1"}} {
						if May(nobody, a, on) == nil {
							t.Errorf("%+v may %s on %s", nobody, name, place)
						}
					}
					n++
				}
			}
		}
	}
	t.Logf("%d cases", n)
	for _, id := range []Identity{{}, {Actor: "root", Role: api.RoleAdmin}, {Actor: "node:oak", Role: api.RoleNode}} {
		if May(id, Nothing, Object{}) != nil || (May(id, BeNode, Object{}) == nil) != (id.Role == api.RoleNode) {
			t.Errorf("%+v", id)
		}
	}
}

// Who a partition does not name may not deploy there, except by a right of it.
func TestListsOfPartitions(t *testing.T) {
	on := Object{Partition: "prod/eu", Job: "web", Lists: &api.Partition{Path: "prod", Users: []string{"ci"}, Roles: []string{"operator"}}}
	for _, c := range []struct {
		name, rights string
		may          bool
	}{
		{"ci", "deployer", true}, {"eve", "deployer", false}, {"eve", "operator", true}, {"eve", "admin", true},
		{"eve", "deployer@prod", true}, {"eve", "deployer@prod/eu", true}, {"eve", "deployer@prod/web*", true}, {"eve", "deployer@web*", false}, {"eve", "deployer@dev", false}, {"ci", "viewer", false},
		{"eve", "deployer,deployer@prod", true},
	} {
		id := Identity{Actor: "token:" + c.name, Rights: c.rights}
		for _, a := range []Action{Deploy, Exec, Fetch, ReadValues} {
			if err := May(id, a, on); (err == nil) != c.may {
				t.Errorf("%s with %s: %v", c.name, c.rights, err)
			}
		}
		if May(id, ReadLogs, Object{Partition: "prod", Lists: on.Lists}) != nil && !strings.Contains(c.rights, "@") {
			t.Errorf("the lists say who may submit, not who reads")
		}
	}
}

func TestParseRight(t *testing.T) {
	for _, s := range []string{"viewer", "deployer@prod", "admin@a/b", "deployer@web-*", "viewer@prod/web-*", "deployer@a/b/c*"} {
		if r, err := api.ParseRight(s); err != nil || r.String() != s {
			t.Errorf("%s: %+v, %v", s, r, err)
		}
	}
	for _, s := range []string{"", "king", "node", "none", "deployer@", "deployer@*", "deployer@prod/*", "deployer@/x*", "admin@web-*", "operator@prod/x*", "deployer@pr od", "deployer@a,b", "deployer@a**", "deployer@a*b", "Deployer", "deployer@../x", "deployer@prod/"} {
		if r, err := api.ParseRight(s); err == nil {
			t.Errorf("%q is %+v", s, r)
		}
	}
}
