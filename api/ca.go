package api

import "slices"

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
