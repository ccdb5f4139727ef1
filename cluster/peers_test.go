package cluster

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/cluster/ages"
	"github.com/mesita/mesita/cluster/tlsconf"
)

func holderOf(t *testing.T, ca *tlsconf.CA, name string) (h *tlsconf.Holder, id string) {
	t.Helper()
	key, err := tlsconf.NewNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := key.CSR()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(csr, tlsconf.NodeIdentity{ID: key.ID(), Name: name, ClusterID: "c1"}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	h, err = tlsconf.NewHolder(key, cert, ca.CertPEM(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return h, key.ID()
}

// serveAs answers on the port as a node does, and returns its address.
func serveAs(t *testing.T, certs *tlsconf.Holder, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(tls.NewListener(l, certs.ServerConfig([]string{"http/1.1"}))) }()
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

// A node that is asked by its address is told the age of who asks, whichever it
// is: in the same age it answers, and it notices nobody of another one.
func TestQuestionsByAddressTellTheAge(t *testing.T) {
	ca, err := tlsconf.NewCA("pine", "c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	oak, _ := holderOf(t, ca, "oak")
	elm, id := holderOf(t, ca, "elm")
	for _, c := range []struct {
		own, its ages.Line
		same     bool
	}{{first, first, true}, {recovered, recovered, true}, {first, recovered, false}, {recovered, first, false}, {apart, recovered, false}} {
		var heard []string
		guard := guardOf(c.its)
		addr := serveAs(t, elm, guard.tell(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			heard = append(heard, r.Header.Get(headerAge))
			if err := guard.admit(r, "caller"); err != nil && r.URL.Path != "/v1/health" {
				w.WriteHeader(http.StatusConflict)
				_ = json.NewEncoder(w).Encode(map[string]any{"error": api.Errorf(api.CodeConflict, "%v", err)})
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"starts": 7, "session": "s1"})
		})))
		p := newPeers(oak, func(string) (string, bool) { return "", false }, guardOf(c.own), func() {})
		var s server.Sighting
		err := p.callAt(t.Context(), id, addr, http.MethodGet, "/v1/internal/seen", &s)
		if (err == nil) != c.same || answeredSeen(err) != c.same || c.same && s.Starts != 7 {
			t.Errorf("%q asks %q: %+v, %v", c.own, c.its, s, err)
		}
		if got := p.sessionAt(t.Context(), addr, id); got != "s1" {
			t.Errorf("%q asks %q for its session: %q", c.own, c.its, got)
		}
		for _, h := range heard {
			if h != c.own.String() {
				t.Errorf("%q told that it is of the age %q", c.own, h)
			}
		}
		if n := len(guard.told); len(heard) != 2 || (n == 0) != c.same {
			t.Errorf("%q asks %q: %d requests, and %d of another age were noticed", c.own, c.its, len(heard), n)
		}
	}
}

// A voter asks again whoever did not say what it saw: only a node that cannot
// know is let off.
func TestWhoDidNotSayIsAskedAgain(t *testing.T) {
	for err, want := range map[error]bool{
		nil: true, api.Errorf(api.CodeNotFound, "no such path"): true, api.Errorf(api.CodeNotAllowed, "was removed"): true,
		api.Errorf(api.CodeConflict, "of another age"): false, api.Errorf(api.CodeUnavailable, "starts"): false, api.Errorf(api.CodeBusy, "busy"): false, errors.New("refused"): false,
	} {
		if answeredSeen(err) != want {
			t.Errorf("%v lets off: %v", err, !want)
		}
	}
}
