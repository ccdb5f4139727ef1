package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"context"

	"github.com/mesita/mesita/api"
)

// lineage is what leads through some authorities of one cluster, as of the last.
func lineage(t *testing.T, cas ...*CA) *api.CARoots {
	t.Helper()
	r := &api.CARoots{Step: uint64(3 * (len(cas) - 1)), Cert: [][]byte{cas[len(cas)-1].CertPEM()}}
	for i, ca := range cas[:len(cas)-1] {
		cross, err := ca.Cross(cas[i+1])
		check(t, err)
		r.Past = append(r.Past, api.PastCA{Cert: ca.CertPEM(), Cross: cross})
	}
	return r
}

// Who knows any of the keys of before comes to the one that signs now, and to none
// that they have not signed: not of another cluster, nor with a link left out.
func TestAKeyIsFollowed(t *testing.T) {
	cas := []*CA{newCA(t, "pine"), newCA(t, "pine"), newCA(t, "pine"), newCA(t, "pine")}
	r := lineage(t, cas...)
	for i, ca := range cas[:3] {
		if _, err := newHolder(t, ca, "oak").Follow(r); err != nil {
			t.Errorf("from key %d: %v", i, err)
		}
		if pin, err := FollowPin(r, ca.Pin()); err != nil || pin != cas[3].Pin() {
			t.Errorf("from the pin of key %d: %s, %v", i, pin, err)
		}
	}
	oak, evil, other := newHolder(t, cas[0], "oak"), newCA(t, "pine"), newCA(t, "fir")
	foreign := lineage(t, evil, cas[1])
	gap := lineage(t, cas...)
	gap.Past = slices.Delete(gap.Past, 1, 2)
	both := lineage(t, cas...)
	both.Cert = append(both.Cert, evil.CertPEM())
	forged := lineage(t, cas[0], evil)
	forged.Past[0].Cross = lineage(t, newCA(t, "pine"), evil).Past[0].Cross
	altered := lineage(t, cas[0], cas[1])
	altered.Cert[0] = altered.Past[0].Cross // of the right key, and not as it made it
	leaf := lineage(t, cas[0], cas[1])
	leaf.Cert[0] = oak.CertPEM()
	for name, bad := range map[string]*api.CARoots{"another's": foreign, "a gap": gap, "one more": both, "not signed": forged, "altered": altered, "another cluster": lineage(t, cas[0], other), "no authority": leaf, "nothing": {Cert: [][]byte{cas[3].CertPEM()}}, "no text": {Cert: [][]byte{[]byte("x")}}} {
		if _, err := oak.Follow(bad); err == nil {
			t.Errorf("%s is followed", name)
		}
	}
	if _, err := FollowPin(foreign, cas[0].Pin()); !errors.Is(err, ErrNotFollowed) {
		t.Errorf("a pin is followed to another's key: %v", err)
	}
}

// Those who have certificates of either key know each other while both are trusted,
// whichever signs: a leader that starts anew must believe a voter that has not heard
// of the new one. Once the old one is dropped its certificates count for nothing.
func TestAReplacedKey(t *testing.T) {
	was, is := newCA(t, "pine"), newCA(t, "pine")
	voter := func(ca *CA) *Holder {
		h := newHolder(t, ca, "oak")
		csr, err := h.CSR()
		check(t, err)
		cert, err := ca.Sign(csr, NodeIdentity{ID: h.ID(), Name: "oak", ClusterID: "pine-id", Voter: true}, time.Now(), time.Hour)
		check(t, err)
		check(t, h.Swap(cert))
		return h
	}
	thief, fir, oak := voter(was), newHolder(t, was, "fir"), voter(is)
	met := func(h *Holder) (p Peer, ok bool) {
		h.SetAdmit(func(c Caller) error { p, ok = c.Peer, true; return nil })
		shake(h.ServerConfig(Protocols()), thief.ClientConfig(ProtoGossip, ""))
		return p, ok
	}
	old := was.CertPEM()
	check(t, thief.SetRoots(slices.Concat(is.CertPEM(), old)))
	for _, c := range []struct {
		what  string
		roots []byte
		known bool
	}{
		{"both are told", slices.Concat(old, is.CertPEM()), true},
		{"the new one is in use", slices.Concat(is.CertPEM(), old), true},
		{"the old one is dropped", is.CertPEM(), false},
	} {
		for _, h := range []*Holder{fir, oak} {
			check(t, h.SetRoots(c.roots))
			if p, known := met(h); known != c.known || p.Voter != c.known {
				t.Errorf("%s: known %v, a voter %v", c.what, known, p.Voter)
			}
		}
		fir.SetAdmit(func(Caller) error { return nil })
		oak.SetAdmit(func(Caller) error { return nil })
		if _, serverErr, clientErr := shake(oak.ServerConfig(Protocols()), fir.ClientConfig(ProtoRaft, oak.ID())); (serverErr == nil && clientErr == nil) != c.known {
			t.Errorf("%s: who has a certificate of the old key: %v, %v", c.what, serverErr, clientErr)
		}
	}
	if err := fir.Swap(issue(t, was, fir.key, "fir", time.Hour)); err == nil {
		t.Error("a certificate of a key that was dropped is taken")
	}
}

// A client that has the certificate of before believes a server that shows what
// leads to the new one.
func TestClientsOfBefore(t *testing.T) {
	cas := []*CA{newCA(t, "pine"), newCA(t, "pine"), newCA(t, "pine")}
	h := newHolder(t, cas[2], "oak")
	connect := func(ca *CA) error {
		pool := x509.NewCertPool()
		pool.AddCert(ca.cert)
		_, _, err := shake(h.ServerConfig(Protocols()), &tls.Config{RootCAs: pool, ServerName: AnyNode, NextProtos: []string{"http/1.1"}})
		return err
	}
	if connect(cas[0]) == nil {
		t.Error("believed without anything")
	}
	h.SetPast(lineage(t, cas...).Past)
	for i, ca := range cas {
		if err := connect(ca); err != nil {
			t.Errorf("with the certificate of key %d: %v", i, err)
		}
	}
	if err := connect(newCA(t, "pine")); err == nil {
		t.Error("believed by a client of another CA")
	}
	if _, _, err := shake(h.ServerConfig(Protocols()), PinnedConfig(cas[2].Pin())); err != nil {
		t.Errorf("a joiner: %v", err)
	}
}

// Once another key signs, a certificate is renewed at once, and one of the old key,
// by a signer that has not heard of it, is asked for again.
func TestACertificateOfTheNewKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		was, is := newCA(t, "pine"), newCA(t, "pine")
		h := newHolder(t, was, "oak")
		signers := []*CA{was, is}
		r := &Rotator{Holder: h, Log: quiet, Save: func([]byte) error { return nil },
			Renew: func(_ context.Context, csr []byte, _ bool) ([]byte, error) {
				ca := signers[0]
				signers = signers[1:]
				return ca.Sign(csr, NodeIdentity{ID: h.ID(), Name: "oak", ClusterID: "pine-id"}, time.Now(), time.Hour)
			}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		check(t, h.SetRoots(slices.Concat(is.CertPEM(), was.CertPEM())))
		h.Outdated()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if !h.SignedBy(is.CertPEM()) || len(signers) != 0 || strings.TrimSpace(string(h.SignerPEM())) != strings.TrimSpace(string(is.CertPEM())) {
			t.Errorf("no certificate of the new key; left %d", len(signers))
		}
		cancel()
		check(t, <-done)
	})
}

// A connection that began with a certificate of the old key is nobody's once that
// key is dropped, and it alone.
func TestAKeyThatIsDroppedIsForgotten(t *testing.T) {
	was, is := newCA(t, "pine"), newCA(t, "pine")
	both := slices.Concat(is.CertPEM(), was.CertPEM())
	oak := newHolder(t, was, "oak")
	check(t, oak.SetRoots(both))
	m := runMux(t, oak, nil)
	srv := &http.Server{ConnContext: oak.ConnContext, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := PeerOf(r.Context())
		fmt.Fprint(w, ok, p.ID)
	})}
	go srv.Serve(m.HTTP())
	t.Cleanup(func() { srv.Close() })
	callers := map[bool]*Holder{false: newHolder(t, was, "thief"), true: newHolder(t, is, "fir")}
	clients := map[bool]*http.Client{}
	for renewed, h := range callers {
		check(t, h.SetRoots(both))
		clients[renewed] = &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1, TLSClientConfig: h.ClientConfig("http/1.1", "")}}
		t.Cleanup(clients[renewed].CloseIdleConnections)
	}
	ask := func(renewed, reused bool) string {
		t.Helper()
		trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
			if i.Reused != reused {
				t.Errorf("a new connection is %v, not %v", !i.Reused, !reused)
			}
		}}
		r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", "https://"+m.conf.Listener.Addr().String(), nil)
		check(t, err)
		res, err := clients[renewed].Do(r)
		check(t, err)
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		check(t, err)
		return string(b)
	}
	for renewed, h := range callers {
		if got := ask(renewed, false); got != "true"+h.ID() {
			t.Errorf("with both trusted: %q", got)
		}
	}
	check(t, oak.SetRoots(is.CertPEM()))
	if got := ask(false, true); got != "false" {
		t.Errorf("of the old key: %q", got)
	}
	if got := ask(true, true); got != "true"+callers[true].ID() {
		t.Errorf("of the new key: %q", got)
	}
}
