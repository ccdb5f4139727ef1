package cluster

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/ages"
	"github.com/mesita/mesita/cluster/tlsconf"
)

// A node believes that it was removed only if that was in its own age: in
// another one it may have been given up by mistake. A certificate it takes from
// any, and before the removal of another age.
func TestRemovalsOfAnotherAgeAreNotBelieved(t *testing.T) {
	ca, err := tlsconf.NewCA("pine", "c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1e9, 0)
	for _, c := range []struct {
		own, its ages.Line
		signed   string // the age in the removal
		believed bool
	}{
		{first, first, "", true}, {recovered, recovered, recovered.ID(), true},
		{first, recovered, recovered.ID(), false}, {first, apart, "", false}, {recovered, first, "", false}, {recovered, apart, apart.ID(), false}, {recovered, recovered, "", false},
	} {
		oak, id := holderOf(t, ca, "oak")
		elm, _ := holderOf(t, ca, "elm")
		answer := func(l ages.Line, r api.Renewal) string {
			return serveAs(t, elm, guardOf(l).tell(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(r) })))
		}
		sig, err := ca.SignRemoval(c.signed, id, at)
		if err != nil {
			t.Fatal(err)
		}
		removes := answer(c.its, api.Renewal{Removal: &api.Removal{At: at, Age: c.signed, Signature: sig}})
		grants := answer(c.own, api.Renewal{Certificate: []byte("cert")})
		for _, addrs := range [][]string{{removes}, {removes, grants}} {
			a := agentIn(t, datadir.Node{NodeID: id, Name: "oak", Cluster: "pine", Ages: c.own})
			a.certs, a.line, a.ages, a.gone = oak, c.own, guardOf(c.own), make(chan struct{})
			a.cfg.Seeds, a.log = addrs, slog.New(slog.DiscardHandler)
			cert, err := a.renew(t.Context(), nil, true)
			if granted := len(addrs) > 1 && !c.believed; (err == nil) != granted || granted && string(cert) != "cert" {
				t.Errorf("%q hears from %q of a removal in %q: %q, %v", c.own, c.its, c.signed, cert, err)
			}
			_, err = os.Stat(a.dir.File(removedFile))
			if (err == nil) != c.believed || (a.removedError() != nil) != c.believed {
				t.Errorf("%q hears from %q of a removal in %q: kept: %v, believed: %v", c.own, c.its, c.signed, err == nil, a.removedError())
			}
		}
	}
}
