package tlsconf

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// removalDigest is what the authority signs when a node was removed. It names
// a key, so it says nothing of a node that joined anew; no certificate begins
// like it. In the first age, "", it is as programs that knew no ages made it.
func removalDigest(ca *x509.Certificate, age, nodeID string, at time.Time) [32]byte {
	text := fmt.Appendf(nil, "mesita node removal 1\n%q\n%s\n%s", ca.Subject.Organization, nodeID, strconv.FormatInt(at.UnixNano(), 10))
	if age != "" {
		text = fmt.Appendf(text, "\nage %s", age)
	}
	return sha256.Sum256(text)
}

// SignRemoval signs that a node was removed from the cluster in the age with
// that id.
func (c *CA) SignRemoval(age, nodeID string, at time.Time) (signature []byte, err error) {
	sum := removalDigest(c.cert, age, nodeID, at)
	if signature, err = ecdsa.SignASN1(rand.Reader, c.key, sum[:]); err != nil {
		return nil, fmt.Errorf("sign that node %q was removed: %w", nodeID, err)
	}
	return signature, nil
}

// CheckRemoval is nil if the cluster's authority signed that this node was
// removed at that time, in the age with that id.
func (h *Holder) CheckRemoval(age string, at time.Time, signature []byte) error {
	for _, ca := range h.trusts.Load().cas {
		sum := removalDigest(ca, age, h.key.id, at)
		if pub, ok := ca.PublicKey.(*ecdsa.PublicKey); ok && ecdsa.VerifyASN1(pub, sum[:], signature) {
			return nil
		}
	}
	return errors.New("that this node was removed is not signed by its cluster's authority")
}
