package tlsconf

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// holderAt is a node whose certificate was signed when the clock said signed,
// and whose own clock says now.
func holderAt(t *testing.T, ca *CA, signed, now time.Time) *Holder {
	t.Helper()
	key, err := NewNodeKey()
	check(t, err)
	csr, err := key.CSR()
	check(t, err)
	cert, err := ca.Sign(csr, NodeIdentity{ID: key.ID(), Name: "oak", ClusterID: "pine-id"}, signed, DefaultLife)
	check(t, err)
	h, err := NewHolder(key, cert, ca.CertPEM(), func() time.Time { return now })
	check(t, err)
	return h
}

// A certificate that is not valid yet is taken whichever side has the wrong
// clock; one that has expired is not, unless the state knows its node, or the
// node that looks sees its own expired, too, and not made later; and a
// node of an expired one may still ask for a new one.
func TestDatesOfCertificates(t *testing.T) {
	today := time.Now()
	ca, err := NewCA("pine", "pine-id", today.Add(-10*365*24*time.Hour))
	check(t, err)
	year := 365 * 24 * time.Hour
	epoch := time.Unix(0, 0)
	for _, c := range []struct {
		name                             string
		server, serverClock, cli, client time.Time
		taken                            bool
	}{
		{"all is well", today, today, today, today, true},
		{"the server's clock stands in 1970", today, epoch, today, today, true},
		{"the client's clock stands in 1970", today, today, today, epoch, true},
		{"both clocks do", today, epoch, today, epoch, true},
		{"the client's has expired", today, today, today.Add(-year), today, false},
		{"the server's has expired", today.Add(-year), today, today, today, false},
		{"the server's clock is a year ahead", today, today.Add(year), today, today, true},
		{"the client's clock is a year ahead", today, today, today, today.Add(year), true},
		{"the client's clock is a year ahead, and it signed its own", today, today, today.Add(year), today.Add(year), false},
		{"the client was off for a year", today, today, today.Add(-year), today, false},
		{"the client's clock is two years ahead of a server that was gone a year ago", today.Add(-year), today, today, today.Add(2 * year), false},
	} {
		for _, known := range []bool{false, true} {
			oak, ash := holderAt(t, ca, c.server, c.serverClock), holderAt(t, ca, c.cli, c.client)
			if known {
				oak.SetMember(func(id string) bool { return id == ash.ID() })
				ash.SetMember(func(id string) bool { return id == oak.ID() })
			}
			_, serverErr, clientErr := shake(oak.ServerConfig(Protocols()), ash.ClientConfig(ProtoRaft, oak.ID()))
			taken := serverErr == nil && clientErr == nil
			if want := c.taken || known; taken != want {
				t.Errorf("%s, known %v: %v, %v", c.name, known, serverErr, clientErr)
			}
			if !taken && !errors.Is(serverErr, ErrExpired) && !errors.Is(clientErr, ErrExpired) {
				t.Errorf("%s: not said to be expired: %v, %v", c.name, serverErr, clientErr)
			}
			if known {
				continue
			}
			// HTTP is open to all; the id of an expired certificate counts for nothing.
			srv, serverErr, clientErr := shake(oak.ServerConfig(Protocols()), ash.RenewalConfig())
			if serverErr != nil || clientErr != nil {
				t.Errorf("%s: it may not ask for a new one: %v, %v", c.name, serverErr, clientErr)
			}
			if id, ok := PeerOf(oak.ConnContext(t.Context(), srv)); ok {
				t.Errorf("%s: who asks for a new one is %v", c.name, id)
			}
			conf := ash.ClientConfig("http/1.1", "")
			conf.VerifyConnection = nil
			srv, serverErr, _ = shake(oak.ServerConfig(Protocols()), conf)
			if id, ok := PeerOf(oak.ConnContext(t.Context(), srv)); serverErr != nil || ok && errors.Is(oak.verifyClient(srv.ConnectionState()), ErrExpired) {
				t.Errorf("%s: HTTP: %v, %v", c.name, id, serverErr)
			}
		}
	}
	// Somebody else's authority is not believed by any date.
	if _, _, err := shake(holderAt(t, newCA(t, "pine"), today, today).ServerConfig(Protocols()), holderAt(t, ca, today, today).RenewalConfig()); err == nil {
		t.Error("a renewal went to another authority's node")
	}
}

// A node that others refuse asks them at once, before its certificate is due
// by its own clock, and then ever less often; and what would end sooner than
// what it has is not taken.
func TestRefusedNodeAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, "pine")
		key, err := NewNodeKey()
		check(t, err)
		h, err := NewHolder(key, issue(t, ca, key, "oak", 100*time.Hour), ca.CertPEM(), nil)
		check(t, err)
		var asked atomic.Int32
		life := 200 * time.Hour
		r := &Rotator{Holder: h, Log: quiet, Save: func([]byte) error { return nil },
			Renew: func(_ context.Context, csr []byte, refused bool) ([]byte, error) {
				if !refused {
					t.Error("it was not due")
				}
				asked.Add(1)
				return ca.Sign(csr, NodeIdentity{ID: key.ID(), Name: "oak", ClusterID: "pine-id"}, time.Now(), life)
			}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		h.Refused()
		synctest.Wait()
		until := h.Leaf().NotAfter
		if asked.Load() != 1 || until.Before(time.Now().Add(199*time.Hour)) {
			t.Fatalf("asked %d times, good until %s", asked.Load(), until)
		}
		life = time.Hour // the next signer's clock is behind
		for range 3600 {
			h.Refused()
			time.Sleep(time.Second)
		}
		if n := asked.Load(); n > 40 || n < 5 {
			t.Errorf("asked %d times in an hour of refusals", n)
		}
		if !h.Leaf().NotAfter.Equal(until) {
			t.Errorf("a certificate that ends at %s was taken for one that ends at %s", h.Leaf().NotAfter, until)
		}
		cancel()
		check(t, <-done)
	})
}

// A removal is of one key, one time, one age and one authority; that of the first
// age is as older programs make it.
func TestRemoval(t *testing.T) {
	ca, other := newCA(t, "pine"), newCA(t, "pine")
	oak, ash := newHolder(t, ca, "oak"), newHolder(t, ca, "ash")
	at := time.Now()
	sig, err := ca.SignRemoval("", oak.ID(), at)
	check(t, err)
	check(t, oak.CheckRemoval("", at.UTC().Round(0), sig))
	if removalDigest(ca.cert, "", oak.ID(), at) != sha256.Sum256(fmt.Appendf(nil, "mesita node removal 1\n[\"pine-id\"]\n%s\n%d", oak.ID(), at.UnixNano())) {
		t.Error("older programs do not believe a removal of the first age")
	}
	later, err := ca.SignRemoval("0123", oak.ID(), at)
	check(t, err)
	check(t, oak.CheckRemoval("0123", at, later))
	forged, err := other.SignRemoval("", oak.ID(), at)
	check(t, err)
	for name, err := range map[string]error{"of another node": ash.CheckRemoval("", at, sig), "at another time": oak.CheckRemoval("", at.Add(1), sig),
		"in a later age": oak.CheckRemoval("", at, later), "in another age": oak.CheckRemoval("4567", at, later), "in an earlier age": oak.CheckRemoval("0123", at, sig),
		"by another authority": oak.CheckRemoval("", at, forged), "unsigned": oak.CheckRemoval("", at, nil)} {
		if err == nil || !strings.Contains(err.Error(), "not signed") {
			t.Errorf("a removal %s: %v", name, err)
		}
	}
}
