package auth

import (
	"net/http"
	"testing"

	"github.com/mesita/mesita/api"
)

// Who needs no credentials is the same to the node itself, as while it leads, as to
// another that it passes the request on to, also to one that does not know yet that
// nodes say so: a name that followed the leader would be another user after each
// election.
func TestLocalUsersAreTheSameWhoeverLeads(t *testing.T) {
	b, leader := newAuth()
	for _, node := range []string{"v1", "n1"} { // a voter, and one that does not vote
		for _, least := range []bool{true, false} {
			b.least = least
			at := New(Config{Node: b.nodes[node].Name})
			for _, who := range []string{api.LocalRoot, api.LocalDev} {
				here := at.local(who)
				h := http.Header{}
				here.Forward(h)
				r := withHeader("Cert", node)
				for k := range h {
					r.Header[k] = h[k]
				}
				there, err := leader.Identify(r, TLS)
				want := here.Actor
				if !least {
					want = who // as all nodes were believed by programs of before
				}
				if err != nil || there.Actor != want || there.Role != here.Role || api.UserOf(there.Actor) != who || here.Actor != who+"@"+b.nodes[node].Name {
					t.Errorf("%+v of %s is %+v to the leader: %v", here, node, there, err)
				}
			}
		}
	}
}
