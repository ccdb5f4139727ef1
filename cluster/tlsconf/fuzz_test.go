package tlsconf

import (
	"testing"
	"time"
)

// FuzzSign: whatever a joiner sends as its request is signed or refused, and
// what is signed is of the key in the request and of no authority.
func FuzzSign(f *testing.F) {
	now := time.Unix(1.7e9, 0)
	ca, err := NewCA("pine", "c1", now)
	if err != nil {
		f.Fatal(err)
	}
	key, err := NewNodeKey()
	if err != nil {
		f.Fatal(err)
	}
	csr, err := key.CSR()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(csr)
	f.Add(csr[:40])
	f.Fuzz(func(t *testing.T, csr []byte) {
		certPEM, err := ca.Sign(csr, NodeIdentity{ID: key.ID(), ClusterID: "c1", Name: "oak"}, now, time.Hour)
		if err != nil {
			return
		}
		certs, err := parseCerts(certPEM)
		if err != nil || len(certs) == 0 || certs[0].IsCA || NodeID(certs[0].PublicKey) != key.ID() {
			t.Fatalf("signed: %v %+v", err, certs)
		}
	})
}

// FuzzParseKey: node.key and ca.crt may be anything.
func FuzzParseKey(f *testing.F) {
	key, err := NewNodeKey()
	if err != nil {
		f.Fatal(err)
	}
	pem, err := key.PEM()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = ParseNodeKey(data) // no panic
		_, _ = parseCerts(data)
	})
}
