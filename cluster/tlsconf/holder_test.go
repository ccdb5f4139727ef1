package tlsconf

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// shake does a handshake over a pipe and returns both sides' errors; the
// client's includes its first read.
func shake(server, client *tls.Config) (srv *tls.Conn, serverErr, clientErr error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	srv = tls.Server(a, server)
	done := make(chan error, 1)
	go func() {
		err := srv.Handshake()
		if err == nil {
			_, err = srv.Write([]byte("x"))
		}
		done <- err
		a.Close()
	}()
	cli := tls.Client(b, client)
	if clientErr = cli.Handshake(); clientErr == nil {
		_, clientErr = cli.Read(make([]byte, 1))
	}
	b.Close()
	return srv, <-done, clientErr
}

func TestNodesKnowEachOther(t *testing.T) {
	ca := newCA(t, "pine")
	oak, ash := newHolder(t, ca, "oak"), newHolder(t, ca, "ash")
	for _, expect := range []string{"", oak.ID()} {
		srv, serverErr, clientErr := shake(oak.ServerConfig(Protocols()), ash.ClientConfig(ProtoRaft, expect))
		if serverErr != nil || clientErr != nil {
			t.Fatalf("expecting %q: %v, %v", expect, serverErr, clientErr)
		}
		p, ok := PeerOf(oak.ConnContext(t.Context(), srv))
		if v := srv.ConnectionState().Version; !ok || p.ID != ash.ID() || p.Session != "" || v != tls.VersionTLS13 {
			t.Errorf("peer %v %v, version %x", p, ok, v)
		}
	}
	if _, _, err := shake(oak.ServerConfig(Protocols()), ash.ClientConfig(ProtoRaft, ash.ID())); err == nil {
		t.Error("a node passed for another")
	}
	if _, _, err := shake(oak.ServerConfig([]string{"http/1.1"}), ash.ClientConfig(ProtoRaft, oak.ID())); err == nil {
		t.Error("a server without the protocol was taken")
	}
}

func TestNodeProtocolsNeedNodeCertificates(t *testing.T) {
	pine, fir := newCA(t, "pine"), newCA(t, "fir")
	oak := newHolder(t, pine, "oak")
	server := oak.ServerConfig(Protocols())
	bare := func(alpn ...string) *tls.Config {
		return &tls.Config{RootCAs: oak.trusts.Load().pool, ServerName: AnyNode, NextProtos: alpn}
	}
	if srv, serverErr, clientErr := shake(server, bare("http/1.1")); serverErr != nil || clientErr != nil {
		t.Errorf("HTTP without a certificate: %v, %v", serverErr, clientErr)
	} else if cs := srv.ConnectionState(); len(cs.PeerCertificates) != 0 {
		t.Error("where does this certificate come from?")
	} else if id, ok := PeerOf(oak.ConnContext(t.Context(), srv)); ok {
		t.Errorf("nobody is node %v", id)
	}
	for _, proto := range []string{ProtoRaft, ProtoGossip} {
		if _, serverErr, clientErr := shake(server, bare(proto)); !errors.Is(serverErr, ErrNoNodeCertificate) || clientErr == nil {
			t.Errorf("%s without a certificate: %v, %v", proto, serverErr, clientErr)
		}
		foreign := newHolder(t, fir, "elm").ClientConfig(proto, "")
		foreign.VerifyConnection = nil
		if _, serverErr, _ := shake(server, foreign); serverErr == nil {
			t.Errorf("%s with another cluster's certificate: taken", proto)
		}
		user := bare(proto)
		user.Certificates = []tls.Certificate{userCert(t, pine)}
		if _, serverErr, _ := shake(server, user); !errors.Is(serverErr, ErrNoNodeCertificate) {
			t.Errorf("%s with a user's certificate: %v", proto, serverErr)
		}
	}
	old := bare(ProtoRaft)
	old.MaxVersion = tls.VersionTLS12
	if _, serverErr, _ := shake(server, old); serverErr == nil {
		t.Error("TLS 1.2 was taken")
	}
}

// userCert is signed by the cluster's authority but is not a node's.
func userCert(t *testing.T, ca *CA) tls.Certificate {
	t.Helper()
	key, err := NewNodeKey()
	check(t, err)
	tmpl := &x509.Certificate{NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, DNSNames: []string{nodeHost(key.ID())}}
	tmpl.Subject.CommonName = key.ID()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, key.key.Public(), ca.key)
	check(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key.key}
}

func TestRemovedNodeIsShutOut(t *testing.T) {
	ca := newCA(t, "pine")
	oak, ash := newHolder(t, ca, "oak"), newHolder(t, ca, "ash")
	gone := errors.New("node is gone")
	oak.SetAdmit(func(c Caller) error {
		if c.ID == ash.ID() {
			return gone
		}
		return nil
	})
	if _, serverErr, _ := shake(oak.ServerConfig(Protocols()), ash.ClientConfig(ProtoGossip, "")); !errors.Is(serverErr, gone) {
		t.Errorf("as a client: %v", serverErr)
	}
	if _, _, clientErr := shake(ash.ServerConfig(Protocols()), oak.ClientConfig(ProtoGossip, "")); !errors.Is(clientErr, gone) {
		t.Errorf("as a server: %v", clientErr)
	}
}

func TestPin(t *testing.T) {
	pine, fir := newCA(t, "pine"), newCA(t, "fir")
	oak := newHolder(t, pine, "oak")
	if _, _, err := shake(oak.ServerConfig(Protocols()), PinnedConfig(pine.Pin())); err != nil {
		t.Errorf("right pin: %v", err)
	}
	for _, pin := range []string{fir.Pin(), "", pine.Pin()[:51], strings.ToUpper(pine.Pin())} {
		_, _, err := shake(oak.ServerConfig(Protocols()), PinnedConfig(pin))
		if !errors.Is(err, ErrPinMismatch) || !strings.Contains(err.Error(), pine.Pin()[:8]) {
			t.Errorf("pin %q: %v", pin, err)
		}
		if len(pin) > 8 && !strings.Contains(err.Error(), pin[:8]) {
			t.Errorf("the error does not name %q: %v", pin[:8], err)
		}
	}
	// Somebody in between has the authority's certificate, which is public, but not its key.
	fake := newHolder(t, fir, "oak")
	conf := fake.ServerConfig(Protocols())
	conf.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{fake.Leaf().Raw, pine.cert.Raw}, PrivateKey: fake.key.key}, nil
	}
	if _, _, err := shake(conf, PinnedConfig(pine.Pin())); err == nil {
		t.Error("a borrowed authority was believed")
	}
	expired := newHolder(t, pine, "oak").Leaf()
	if err := verifyPinned([]*x509.Certificate{expired, pine.cert}, pine.Pin(), time.Now().Add(72*time.Hour)); err == nil || !strings.Contains(err.Error(), "set the clock") {
		t.Errorf("a clock that is wrong: %v", err)
	}
}

func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "pine")
		key, err := NewNodeKey()
		check(t, err)
		h, err := NewHolder(key, issue(t, ca, key, "oak", 100*time.Hour), ca.CertPEM(), nil)
		check(t, err)
		first, server := h.Leaf(), h.ServerConfig(Protocols())
		fails := 3
		var mu sync.Mutex
		var tried []time.Duration
		tries := func() []time.Duration { mu.Lock(); defer mu.Unlock(); return slices.Clone(tried) }
		begin := time.Now()
		var saved atomic.Pointer[[]byte]
		r := &Rotator{Holder: h, Log: quiet,
			Renew: func(ctx context.Context, csr []byte, _ bool) ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				tried = append(tried, time.Since(begin))
				if fails--; fails >= 0 {
					return nil, errors.New("no quorum")
				}
				return ca.Sign(csr, NodeIdentity{ID: key.ID(), Name: "oak", ClusterID: "pine-id"}, time.Now(), 100*time.Hour)
			},
			Save: func(certPEM []byte) error { saved.Store(&certPEM); return nil },
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(48 * time.Hour)
		if h.Leaf() != first || len(tries()) != 0 {
			t.Fatal("renewed before half life")
		}
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if h.Leaf() == first || len(tries()) != 4 {
			t.Fatalf("not renewed after half life: %v", tries())
		}
		at, most := tries(), time.Second
		for i := range 3 {
			if d := at[i+1] - at[i]; d < most/2 || d > most {
				t.Errorf("try %d came %v after the one before, want at most %v and half of it at least", i+1, d, most)
			}
			most *= 2
		}
		if p := saved.Load(); p == nil || !bytes.Equal(*p, encodeCert(h.Leaf().Raw)) {
			t.Error("not saved")
		}
		// The first one is over by now; the config made from it serves on.
		time.Sleep(50 * time.Hour)
		synctest.Wait()
		if !time.Now().After(first.NotAfter) {
			t.Fatal("the first certificate is still good")
		}
		if _, serverErr, clientErr := shake(server, h.ClientConfig(ProtoRaft, key.ID())); serverErr != nil || clientErr != nil {
			t.Errorf("after rotation: %v, %v", serverErr, clientErr)
		}
		if len(tries()) > 5 {
			t.Errorf("renewed too often: %v", tries())
		}
		cancel()
		check(t, <-done)
	})
}

func TestRotationOfAnExpiredCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "pine")
		key, err := NewNodeKey()
		check(t, err)
		old := issue(t, ca, key, "oak", time.Hour)
		time.Sleep(5 * time.Hour)
		h, err := NewHolder(key, old, ca.CertPEM(), nil)
		check(t, err)
		var renewed atomic.Int32
		r := &Rotator{Holder: h, Log: quiet, Save: func([]byte) error { return errors.New("disk full") },
			Renew: func(ctx context.Context, csr []byte, _ bool) ([]byte, error) {
				renewed.Add(1)
				// The signer's clock is far behind: what it signs is past half life already.
				return ca.Sign(csr, NodeIdentity{ID: key.ID(), Name: "oak", ClusterID: "pine-id"}, time.Now().Add(-9*time.Hour), 10*time.Hour)
			}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		if renewed.Load() != 1 || !h.Leaf().NotAfter.After(time.Now()) {
			t.Errorf("renewed %d times, good until %s", renewed.Load(), h.Leaf().NotAfter)
		}
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if renewed.Load() != 1 {
			t.Errorf("renewed %d times within half an hour", renewed.Load())
		}
		cancel()
		check(t, <-done)
	})
}
