package tlsconf

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/mesita/mesita/api"
)

// The key of an authority is followed by another one. Who is there meanwhile is
// told so; who was off, or has a token of before, knows the old key only, and
// believes the next one if the one that it knows has signed it.

// Cross is the key of the next authority, certified by this one, PEM.
func (c *CA) Cross(next *CA) ([]byte, error) {
	tmpl := *next.cert
	tmpl.SerialNumber = nil                   // another is made
	tmpl.AuthorityKeyId = c.cert.SubjectKeyId // both have one name
	tmpl.NotAfter = earlier(next.cert.NotAfter, c.cert.NotAfter)
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, c.cert, next.cert.PublicKey, c.key)
	if err != nil {
		return nil, fmt.Errorf("certify the next CA key: %w", err)
	}
	return encodeCert(der), nil
}

// follow tells who of an authority's certificates are trusted by who trusts some
// keys, and none if the first of them is not.
func follow(r *api.CARoots, known []*x509.Certificate) ([]*x509.Certificate, error) {
	known = slices.Clone(known)
	for _, p := range r.Past {
		old, err := parseCerts(p.Cert)
		if err != nil {
			return nil, fmt.Errorf("a past CA certificate: %w", err)
		}
		cross, err := parseCerts(p.Cross)
		if err != nil {
			return nil, fmt.Errorf("the certificate of a CA key by the one before: %w", err)
		}
		if i := slices.IndexFunc(known, func(k *x509.Certificate) bool { return sameKey(k, old[0]) && sameCluster(k, cross[0]) }); i >= 0 && cross[0].IsCA && cross[0].CheckSignatureFrom(known[i]) == nil {
			known = append(known, cross[0])
		}
	}
	roots, err := parseCerts(r.PEM())
	if err != nil {
		return nil, fmt.Errorf("the CA certificates: %w", err)
	}
	for _, c := range roots {
		if !c.IsCA || c.CheckSignatureFrom(c) != nil || !slices.ContainsFunc(known, func(k *x509.Certificate) bool {
			return sameKey(k, c) && sameCluster(k, c)
		}) {
			return nil, ErrNotFollowed
		}
	}
	return roots, nil
}

func sameKey(a, b *x509.Certificate) bool {
	k, ok := a.PublicKey.(*ecdsa.PublicKey)
	return ok && k.Equal(b.PublicKey)
}

func sameCluster(a, b *x509.Certificate) bool {
	return slices.Equal(a.Subject.Organization, b.Subject.Organization)
}

// maxShown bounds the certificates of keys by those before that a server shows.
const maxShown = 4

// SetPast has servers show how the authority came to its key, so that a client
// which has the certificate of before believes them.
func (h *Holder) SetPast(past []api.PastCA) {
	var shown [][]byte
	for _, p := range past[max(0, len(past)-maxShown):] {
		if certs, err := parseCerts(p.Cross); err == nil {
			shown = append(shown, certs[0].Raw)
		}
	}
	slices.Reverse(shown)
	h.showing.Lock()
	defer h.showing.Unlock()
	h.past.Store(&shown)
	now := h.current.Load()
	h.show(now.Leaf, now.Certificate[len(now.Certificate)-1])
}

// show puts a certificate in use. The authority goes along for joiners, which know
// it by its pin only; before it what leads to it, where clients look first.
func (h *Holder) show(leaf *x509.Certificate, ca []byte) {
	chain := [][]byte{leaf.Raw}
	if past := h.past.Load(); past != nil {
		chain = append(chain, *past...)
	}
	h.current.Store(&tls.Certificate{Certificate: append(chain, ca), PrivateKey: h.key.key, Leaf: leaf})
}

// maxTold bounds the authorities that there are at one step.
const maxTold = 2

// Follow is what to trust, PEM, once an authority follows one that this node
// trusts: its certificates beside those that are, or nil if they are among these.
// Whoever asks for it may have been told by anybody, so that it does not say which
// key signs now: the first stays so.
func (h *Holder) Follow(r *api.CARoots) ([]byte, error) {
	trusts := h.trusts.Load().cas
	told, err := follow(r, trusts)
	if err != nil {
		return nil, err
	}
	if len(told) > maxTold {
		return nil, ErrNotFollowed
	}
	told = slices.DeleteFunc(told, func(c *x509.Certificate) bool { return slices.ContainsFunc(trusts, c.Equal) })
	if len(told) == 0 {
		return nil, nil
	}
	own, err := parseCerts(h.SignerPEM())
	if err != nil {
		return nil, err
	}
	var out []byte
	var all []*x509.Certificate
	for _, c := range slices.Concat(trusts[:1], own, told, trusts[1:]) {
		if !slices.ContainsFunc(all, c.Equal) && len(all) < maxCerts {
			all = append(all, c)
			out = append(out, encodeCert(c.Raw)...)
		}
	}
	return out, nil
}

// FollowRoots are the certificates, PEM, of those keys of the CA now that are the one of
// a pin or follow it. Whoever told of them may be a node that lies: of others there are
// none. It fails with ErrNotFollowed if none is.
func FollowRoots(r *api.CARoots, pin string) ([]byte, error) {
	told := r.PEM()
	for _, p := range r.Past {
		told = slices.Concat(told, p.Cert)
	}
	certs, err := parseCerts(told)
	if err != nil {
		return nil, fmt.Errorf("the CA certificates: %w", err)
	}
	i := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return pinOf(c) == pin })
	if i < 0 {
		return nil, ErrNotFollowed
	}
	var out []byte
	for n, one := range r.Cert {
		if n == maxTold {
			break
		}
		only := *r
		only.Cert = [][]byte{one}
		roots, err := follow(&only, certs[i:i+1])
		if err == nil && len(roots) == 1 {
			out = append(out, encodeCert(roots[0].Raw)...)
		}
	}
	if out == nil {
		return nil, ErrNotFollowed
	}
	return out, nil
}

// FollowPin is the pin of the key that signs now, if it follows the one of a pin.
func FollowPin(r *api.CARoots, pin string) (string, error) {
	for _, p := range r.Past {
		certs, err := parseCerts(p.Cert)
		if err != nil {
			return "", fmt.Errorf("a past CA certificate: %w", err)
		}
		if pinOf(certs[0]) != pin {
			continue
		}
		roots, err := follow(r, certs[:1])
		if err != nil {
			return "", err
		}
		return pinOf(roots[0]), nil
	}
	return "", ErrNotFollowed
}
