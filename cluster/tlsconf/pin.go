package tlsconf

import (
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// PinnedConfig is for a joiner that knows nothing of the cluster but its CA's
// pin: the server must show a CA of that pin in its chain, and a node
// certificate signed by it. Another CA is ErrPinMismatch.
func PinnedConfig(pin string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The usual check needs a CA at hand; VerifyConnection does it all.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			return verifyPinned(cs.PeerCertificates, pin, time.Now())
		},
	}
}

func verifyPinned(chain []*x509.Certificate, pin string, now time.Time) error {
	if len(chain) < 2 {
		return errors.New("the server does not show its CA: is this a mesita node?")
	}
	var ca *x509.Certificate
	for _, c := range chain[1:] {
		if subtle.ConstantTimeCompare([]byte(pinOf(c)), []byte(pin)) == 1 {
			ca = c
		}
	}
	if ca == nil {
		return fmt.Errorf("%w: the token says %s, the server has %s: it is a node of another cluster, the token is mistyped, or somebody is in between",
			ErrPinMismatch, shortPin(pin), shortPin(pinOf(chain[len(chain)-1])))
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if _, err := nodeOf(chain, roots, x509.ExtKeyUsageServerAuth); err != nil {
		return fmt.Errorf("the server's certificate is not of the CA it shows: %w", err)
	}
	if now.After(chain[0].NotAfter) {
		return fmt.Errorf("%w: set the clock, or start the server's own cluster first", expiredError(chain[0], now))
	}
	return nil
}

// AnybodyConfig is for asking what proves itself, whoever answers.
func AnybodyConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{protoHTTP1}, InsecureSkipVerify: true}
}

func shortPin(pin string) string {
	if len(pin) > 8 {
		return pin[:8] + "…"
	}
	return fmt.Sprintf("%q", pin)
}
