package auth

import (
	"net/http"
	"testing"

	"github.com/mesita/mesita/api"
)

// FuzzRelayHeaders: whatever another node writes of who calls, a removed one is
// refused, one that does not vote speaks for its own root alone, and what is
// believed of a voter is passed on as it was read.
func FuzzRelayHeaders(f *testing.F) {
	for _, s := range [][6]string{
		{"root", "admin", "", "", "", "10.0.0.9"}, {"token:ci", "none", "deployer@prod,viewer", "", "", ""}, {"root@oak", "viewer", "", "", "n1", "uid 0"},
		{"node:oak", "node", "", "n1", "", ""}, {"", "", "admin", "", "", ""}, {"dev", "admin", "king@", "x", "", ""},
	} {
		for _, peer := range []byte{0, 1, 2} {
			f.Add(peer, s[0], s[1], s[2], s[3], s[4], s[5])
		}
	}
	b, a := newAuth()
	b.least = true
	f.Fuzz(func(t *testing.T, peer byte, actor, role, rights, node, own, from string) {
		cert := []string{"n1", "v1", "n2"}[int(peer)%3] // a worker, a voter, a removed one
		r := &http.Request{RemoteAddr: "10.0.0.1:9", Header: http.Header{"Cert": {cert}, HeaderForwarded: {"1"},
			HeaderActor: {actor}, HeaderRole: {role}, HeaderRights: {rights}, HeaderNode: {node}, HeaderOwn: {own}, HeaderFrom: {from}}}
		id, err := a.Identify(r, TLS)
		if got := id.From(r); err == nil && len(got) > maxFrom {
			t.Errorf("it came from %q", got)
		}
		switch {
		case cert == "n2":
			if api.ErrorCode(err) != api.CodeNotAllowed || id.Known() {
				t.Errorf("a removed node: %+v, %v", id, err)
			}
		case err != nil:
			if id.Known() {
				t.Errorf("%+v, and %v", id, err)
			}
		case !id.Known() || !id.Forwarded:
			if id.Known() || id.NodeID != "" {
				t.Errorf("%+v", id)
			}
		case cert == "n1":
			if role != "admin" || id.Actor != "root@oak" && id.Actor != "dev@oak" || id.NodeID != "" || id.Via != "oak" {
				t.Errorf("a worker is believed %+v of %q, %q, %q", id, actor, role, rights)
			}
		default:
			h := http.Header{}
			id.Forward(h)
			again, err := forwarded(h)
			again.Via = id.Via
			if again.Actor != id.Actor || again.Role != id.Role || again.Rights != id.Rights || again.NodeID != id.NodeID || again.Own != id.Own || err != nil {
				t.Errorf("%+v is passed on as %+v, %v", id, again, err)
			}
		}
	})
}
