package tlsconf

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

const (
	// DefaultLife is how long a node certificate is good for. It is renewed at
	// half of that, so a machine may be switched off for three months and
	// still be let in; who must go earlier is removed from the cluster's state.
	DefaultLife = 180 * 24 * time.Hour

	caLife     = 20 * 365 * 24 * time.Hour
	maxCSR     = 8 << 10
	maxSkew    = time.Hour
	nodeUnit   = "node"
	nodeDomain = "node.mesita"
	// voterHost is in the certificates that voters make for themselves. No node
	// can be named so, and no id hashes to it.
	voterHost = "voter." + nodeDomain
)

// AnyNode is the server name under which every node of a cluster proves
// itself: a client that has the CA but no node id verifies against it.
const AnyNode = nodeDomain

// CA is a cluster's certificate authority.
type CA struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	keyPEM []byte
}

// NodeIdentity is what a node certificate says about its holder.
type NodeIdentity struct {
	ID        string   // hash of its public key, see NodeID
	Name      string   // the node's name, a DNS label
	ClusterID string   // must be the CA's
	Voter     bool     // holds this authority: it says so to who can look up nothing
	Hosts     []string // further host names or IP addresses, for browsers and curl; may be empty
}

// NewCA makes an authority for a cluster, good for 20 years.
func NewCA(clusterName, clusterID string, now time.Time) (*CA, error) {
	if clusterName == "" || clusterID == "" {
		return nil, errors.New("make CA: the cluster needs a name and an id")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	tmpl := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "mesita " + clusterName + " CA", Organization: []string{clusterID}},
		NotBefore:             now.Add(-maxSkew),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back CA certificate: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, fmt.Errorf("make CA key: %w", err)
	}
	return &CA{cert: cert, key: key, keyPEM: keyPEM}, nil
}

// LoadCA reads an authority that CertPEM and KeyPEM wrote, and checks that the
// two belong together.
func LoadCA(certPEM, keyPEM []byte) (*CA, error) {
	certs, err := parseCerts(certPEM)
	if err != nil {
		return nil, fmt.Errorf("CA certificate: %w", err)
	}
	signer, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("CA key: %w", err)
	}
	key, ok := signer.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("CA key: is a %T, want ECDSA P-256", signer)
	}
	if !certs[0].IsCA {
		return nil, errors.New("CA certificate: is not one of an authority")
	}
	if !key.PublicKey.Equal(certs[0].PublicKey) {
		return nil, errors.New("CA key: does not belong to the CA certificate")
	}
	return &CA{cert: certs[0], key: key, keyPEM: bytes.Clone(keyPEM)}, nil
}

// CertPEM is the authority's certificate.
func (c *CA) CertPEM() []byte { return encodeCert(c.cert.Raw) }

// KeyPEM is the authority's private key: keep it secret.
func (c *CA) KeyPEM() []byte { return bytes.Clone(c.keyPEM) }

// Pin is the authority's public key, hashed: 52 characters of a-z and 2-7 that
// a join token carries.
func (c *CA) Pin() string { return pinOf(c.cert) }

// PinOf is the pin of the first certificate in caPEM.
func PinOf(caPEM []byte) (string, error) {
	certs, err := parseCerts(caPEM)
	if err != nil {
		return "", fmt.Errorf("CA certificate: %w", err)
	}
	return pinOf(certs[0]), nil
}

func pinOf(cert *x509.Certificate) string { return api.PinOf(cert) }

// Sign issues a node certificate (PEM, leaf only) for the key of csrDER. It
// refuses a request whose key does not hash to id.ID, so that nobody can be
// given another node's identity.
func (c *CA) Sign(csrDER []byte, id NodeIdentity, now time.Time, life time.Duration) ([]byte, error) {
	csr, err := c.checkRequest(csrDER, id)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of node %q: %w", id.ID, err)
	}
	if life <= 0 {
		return nil, fmt.Errorf("sign certificate of node %q: life %s: must be more than zero", id.ID, life)
	}
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: id.ID, Organization: []string{id.ClusterID}, OrganizationalUnit: []string{nodeUnit}},
		// A peer's clock may be behind ours.
		NotBefore:   now.Add(-min(maxSkew, life/10)),
		NotAfter:    earlier(now.Add(life), c.cert.NotAfter),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{nodeHost(id.ID), AnyNode, id.Name},
	}
	if id.Voter {
		tmpl.DNSNames = append(tmpl.DNSNames, voterHost)
	}
	for _, h := range id.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else if !slices.Contains(tmpl.DNSNames, h) {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, csr.PublicKey, c.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of node %q: %w", id.ID, err)
	}
	return encodeCert(der), nil
}

func (c *CA) checkRequest(csrDER []byte, id NodeIdentity) (*x509.CertificateRequest, error) {
	if len(csrDER) > maxCSR {
		return nil, fmt.Errorf("the request has %d bytes, at most %d are allowed", len(csrDER), maxCSR)
	}
	csr, err := x509.ParseCertificateRequest(csrDER)
	if err != nil {
		return nil, fmt.Errorf("the request is not a certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the request is not signed by its own key: %w", err)
	}
	switch k := csr.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, errors.New("the key is on another curve than P-256")
		}
	default:
		return nil, fmt.Errorf("the key is a %T, want ECDSA P-256 or Ed25519", k)
	}
	if got := NodeID(csr.PublicKey); got != id.ID {
		return nil, fmt.Errorf("%w: the key belongs to node %q", ErrWrongKey, got)
	}
	if org := c.cert.Subject.Organization; len(org) != 1 || org[0] != id.ClusterID {
		return nil, fmt.Errorf("the cluster id is %q, this authority signs for %q", id.ClusterID, org)
	}
	if len(id.Hosts) > 32 {
		return nil, fmt.Errorf("%d hosts, at most 32 are allowed", len(id.Hosts))
	}
	for _, name := range append([]string{id.Name}, id.Hosts...) {
		if err := CheckHost(name); err != nil {
			return nil, err
		}
	}
	return csr, nil
}

// CheckHost keeps names out of a certificate that would make their holder pass
// for another node.
func CheckHost(name string) error {
	if net.ParseIP(name) != nil {
		return nil
	}
	lower := strings.ToLower(name)
	if name == "" || len(name) > 253 || strings.Trim(lower, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
		return fmt.Errorf("%q is not a host name: use a-z, 0-9, '-' and '.'", name)
	}
	if lower == nodeDomain || strings.HasSuffix(lower, "."+nodeDomain) {
		return fmt.Errorf("the name %q is reserved for node ids", name)
	}
	return nil
}

func nodeHost(id string) string { return id + "." + nodeDomain }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// maxCerts bounds the certificates of one file or answer.
const maxCerts = 8

// parseCerts reads one to maxCerts certificates and nothing else.
func parseCerts(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for rest := bytes.TrimSpace(data); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(certs) == maxCerts {
			return nil, errors.New("is damaged: want one PEM block of type CERTIFICATE")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("is damaged: %w", err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("is empty")
	}
	return certs, nil
}
