package api

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/pem"
	"slices"
	"strings"
)

// PinOf is a certificate's public key, hashed: 52 characters of a-z and 2-7 that
// tokens carry.
func PinOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))
}

// TokenPin is the pin that a token made now carries. While some nodes have certificates
// of the former key already replaced and others have not, it is the former one's: that
// key leads to the next, and the next one to no node that still shows the former.
func (a *Authority) TokenPin() string {
	if former, _ := pem.Decode(a.CANext); a.CAStep%3 == 2 && former != nil {
		if cert, err := x509.ParseCertificate(former.Bytes); err == nil {
			return PinOf(cert)
		}
	}
	return a.Pin
}

// MaxPastCAs bounds the CA keys of before that are remembered, the latest last:
// a node that was off during more changes joins anew.
const MaxPastCAs = 16

// PastCA is a key of the CA that was replaced, and what leads from it to the next.
type PastCA struct {
	Extra
	Cert  []byte `json:"cert"`  // PEM, signed by itself
	Cross []byte `json:"cross"` // PEM: of the next key, signed by this one
}

// CARoots is what nodes need to know of the keys of the CA at one step of their
// change. It proves itself to who believes one of the past ones.
type CARoots struct {
	Step uint64   `json:"step"`
	Cert [][]byte `json:"cert"`           // PEM; the first is of the key that signs
	Past []PastCA `json:"past,omitempty"` // oldest first
}

// CAs is what nodes need to know of the keys of the CA.
func (a *Authority) CAs() *CARoots {
	r := &CARoots{Step: a.CAStep, Cert: [][]byte{a.CACert}, Past: a.CAPast}
	if a.CANext != nil {
		r.Cert = append(r.Cert, a.CANext)
	}
	return r
}

// PEM is all certificates that are trusted, the one that signs first.
func (r *CARoots) PEM() []byte { return slices.Concat(r.Cert...) }

// CAStatus is how far a change of the CA's key is.
type CAStatus struct {
	Pin  string `json:"pin"` // hash of the public key that signs
	Step uint64 `json:"step"`
	// Phase is "" while none is under way.
	Phase string `json:"phase,omitempty"`
	// Waiting are the nodes that are there and have not done the step, Away those
	// that are not there: they are not waited for, and do it when they are back.
	Waiting []string `json:"waiting,omitempty"`
	Away    []string `json:"away,omitempty"`
}
