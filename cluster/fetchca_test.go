package cluster

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/tlsconf"
)

// signedNode is a node's key and the certificate of it by a CA, and the files of both.
func signedNode(t *testing.T, ca *tlsconf.CA, dir, name string) (tlsconf.Files, *tlsconf.NodeKey, []byte) {
	t.Helper()
	files := tlsconf.Files{Dir: dir}
	key, _, err := files.LoadOrMakeKey()
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
	return files, key, cert
}

// caServer is a node with a certificate of a CA that tells of r, and the address of it.
func caServer(t *testing.T, ca *tlsconf.CA, past []api.PastCA, r *api.CARoots) string {
	t.Helper()
	h := heldNode(t, ca, "oak")
	h.SetPast(past)
	return serveNode(t, h, "127.0.0.1:0", r)
}

// heldNode is a node with a certificate of a CA.
func heldNode(t *testing.T, ca *tlsconf.CA, name string) *tlsconf.Holder {
	t.Helper()
	_, key, cert := signedNode(t, ca, t.TempDir(), name)
	h, err := tlsconf.NewHolder(key, cert, ca.CertPEM(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// serveNode has a node answer at an address with r, and tells the one that it got.
func serveNode(t *testing.T, h *tlsconf.Holder, addr string, r any) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(r) // who asked may be gone
	})}
	go s.Serve(tls.NewListener(l, h.ServerConfig([]string{"http/1.1"}))) // ends as it is closed
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

func newTestCA(t *testing.T, name string) *tlsconf.CA {
	t.Helper()
	ca, err := tlsconf.NewCA(name, "c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// A node of the cluster, which has no key of its CA, has nobody trust another: not one
// that it adds, and not one in place of it.
func TestANodeNamesNoOtherCA(t *testing.T) {
	ca, evil := newTestCA(t, "pine"), newTestCA(t, "pine")
	anybody := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(&api.CARoots{Cert: [][]byte{ca.CertPEM()}}) // who asked may be gone
	}))
	defer anybody.Close()
	if got, err := tlsconf.FetchCA(t.Context(), []string{anybody.Listener.Addr().String()}, ca.Pin()); err == nil || got != nil {
		t.Errorf("who only says it is of that CA is believed: %v", err)
	}
	both := caServer(t, ca, nil, &api.CARoots{Cert: [][]byte{evil.CertPEM(), ca.CertPEM()}})
	if got, err := tlsconf.FetchCA(t.Context(), []string{both}, ca.Pin()); err != nil || !bytes.Equal(got, ca.CertPEM()) {
		t.Errorf("%v: of two it is not the one of the pin alone: %s", err, got)
	}
	for _, past := range [][]api.PastCA{nil, {{Cert: ca.CertPEM(), Cross: evil.CertPEM()}}} {
		other := caServer(t, ca, nil, &api.CARoots{Cert: [][]byte{evil.CertPEM()}, Past: past})
		if got, err := tlsconf.FetchCA(t.Context(), []string{other}, ca.Pin()); api.ErrorCode(err) != api.CodeNotAllowed || got != nil {
			t.Errorf("another in its place: %v", err)
		}
	}
}

// A token that is made while the key of the CA changes leads to all nodes, whichever key
// their certificates are of.
func TestTokensLeadToAllNodesWhileTheCAKeyChanges(t *testing.T) {
	old, next := newTestCA(t, "pine"), newTestCA(t, "pine")
	for step, c := range []struct {
		a    api.Authority
		want string
	}{
		{api.Authority{CACert: old.CertPEM(), Pin: old.Pin()}, old.Pin()},
		{api.Authority{CACert: old.CertPEM(), Pin: old.Pin(), CANext: next.CertPEM()}, old.Pin()},
		{api.Authority{CACert: next.CertPEM(), Pin: next.Pin(), CANext: old.CertPEM()}, old.Pin()},
		{api.Authority{CACert: next.CertPEM(), Pin: next.Pin()}, next.Pin()},
	} {
		if c.a.CAStep = uint64(step); c.a.TokenPin() != c.want {
			t.Errorf("at step %d a token has the pin %s; the keys are %s and then %s", step, c.a.TokenPin(), old.Pin(), next.Pin())
		}
	}
}

// While the key of the CA changes some nodes have certificates of the old one and some of
// the new one: a token of either gets in, wherever one of its nodes is among those asked.
func TestLoginWhileTheCAKeyChanges(t *testing.T) {
	old, next := newTestCA(t, "pine"), newTestCA(t, "pine")
	cross, err := old.Cross(next)
	if err != nil {
		t.Fatal(err)
	}
	past := []api.PastCA{{Cert: old.CertPEM(), Cross: cross}}
	now := &api.CARoots{Step: 2, Cert: [][]byte{next.CertPEM(), old.CertPEM()}, Past: past}
	notYet, done := caServer(t, old, past, now), caServer(t, next, past, now)
	gone := "127.0.0.1:1"
	for _, c := range []struct {
		name  string
		pin   string
		addrs []string
		want  []byte
	}{
		{"a token of before, at a node of before", old.Pin(), []string{notYet}, slices.Concat(next.CertPEM(), old.CertPEM())},
		{"a token of before, at one of now", old.Pin(), []string{done}, slices.Concat(next.CertPEM(), old.CertPEM())},
		{"a token of now, at one of now", next.Pin(), []string{done}, next.CertPEM()},
		{"a token of now, at one of before and then at one of now", next.Pin(), []string{notYet, done}, next.CertPEM()},
		{"where the first is away", old.Pin(), []string{gone, notYet}, slices.Concat(next.CertPEM(), old.CertPEM())},
		{"where the first is of another cluster", old.Pin(), []string{caServer(t, newTestCA(t, "fig"), nil, now), notYet}, slices.Concat(next.CertPEM(), old.CertPEM())},
	} {
		if got, err := tlsconf.FetchCA(t.Context(), c.addrs, c.pin); err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("%s: %v\n%s", c.name, err, got)
		}
	}
	if _, err := tlsconf.FetchCA(t.Context(), []string{gone}, old.Pin()); api.ErrorCode(err) != api.CodeUnavailable {
		t.Errorf("where nobody is: %v", err)
	}
	if _, err := tlsconf.FetchCA(t.Context(), []string{done, gone}, strings.Repeat("a", len(old.Pin()))); api.ErrorCode(err) != api.CodeNotAllowed {
		t.Errorf("another cluster's token: %v", err)
	}
}
