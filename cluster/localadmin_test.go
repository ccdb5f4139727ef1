package cluster

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/cluster/audit"
	"github.com/mesita/mesita/cluster/tlsconf"
)

// Root of a worker is nobody at another worker, which has no state and so cannot
// know whether such root is an admin: only a voter's word counts there.
func TestAWorkersRootIsNobodyAtAnother(t *testing.T) {
	ca, err := tlsconf.NewCA("pine", "c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	at := alone(t, 3)
	var self string
	at.certs, self = holderOf(t, ca, "oak")
	at.self.NodeID = self
	at.ages = newAgeGuard(at.line, at.nameOf, at.log)
	at.fed.Store(true)
	at.roll.told(&feed{told: true})
	at.audit = audit.New(audit.Config{Dir: t.TempDir(), Node: "oak", Now: time.Now, Log: at.log})
	at.stack.start("audit", at.audit.Run)
	at.newServer()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := tlsconf.NewMux(tlsconf.MuxConfig{Listener: l, TLS: at.certs.ServerConfig(tlsconf.Protocols()), Log: at.log})
	https := mux.HTTP()
	at.stack.start("port", mux.Run)
	at.serve("https", https, auth.TLS)
	for _, votes := range []bool{false, true} {
		from, id := holderOf(t, ca, "elm")
		if votes {
			csr, err := from.CSR()
			if err != nil {
				t.Fatal(err)
			}
			cert, err := ca.Sign(csr, tlsconf.NodeIdentity{ID: id, Name: "elm", ClusterID: "c1", Voter: true}, time.Now(), time.Hour)
			if err == nil {
				err = from.Swap(cert)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		p := newPeers(from, func(string) (string, bool) { return l.Addr().String(), true }, guardOf(at.line), func() {})
		for _, q := range []struct{ method, path string }{{"GET", "/v1/local/audit"}, {"GET", "/v1/local/tasks/t1/logs"}, {"POST", "/v1/local/tasks/t1/exec"}} {
			if votes && q.path != "/v1/local/audit" {
				continue // there are no tasks here
			}
			r, err := http.NewRequestWithContext(t.Context(), q.method, "https://"+self+q.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{auth.HeaderForwarded: {"1"}, auth.HeaderActor: {"root"}, auth.HeaderRole: {"admin"}}
			res, err := p.transport(self).RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			err = api.ReadAnswer(res, nil)
			res.Body.Close()
			if votes && err != nil || !votes && (api.ErrorCode(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "ask a voter")) {
				t.Errorf("votes %v: %s %s: %v", votes, q.method, q.path, err)
			}
		}
		p.close()
	}
}
