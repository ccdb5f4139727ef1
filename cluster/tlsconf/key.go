package tlsconf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// NodeKey is a node's private key, and so its identity. It is made once, at
// the first start, and never leaves the node.
type NodeKey struct {
	key crypto.Signer
	id  string
}

// NewNodeKey makes a P-256 key: browsers do not speak Ed25519 certificates.
func NewNodeKey() (*NodeKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make node key: %w", err)
	}
	return &NodeKey{key: key, id: NodeID(key.Public())}, nil
}

// ParseNodeKey reads what PEM wrote.
func ParseNodeKey(keyPEM []byte) (*NodeKey, error) {
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	id := NodeID(key.Public())
	if id == "" {
		return nil, fmt.Errorf("is a %T, want ECDSA P-256 or Ed25519", key)
	}
	return &NodeKey{key: key, id: id}, nil
}

// ID is the node's id.
func (k *NodeKey) ID() string { return k.id }

// PEM is the private key: keep it secret.
func (k *NodeKey) PEM() ([]byte, error) { return encodeKey(k.key) }

// CSR is a certificate request (DER) for this key.
func (k *NodeKey) CSR() ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: k.id}}, k.key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return der, nil
}

// NodeID is the id of the node that holds a public key: the first 16 hex
// digits of the SHA-256 of its SubjectPublicKeyInfo. It is empty for a kind of
// key that x509 does not know.
func NodeID(pub crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:8])
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseKey(data []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		return nil, errors.New("is damaged: want one PEM block of type PRIVATE KEY")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("is damaged: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("is a %T, which cannot sign", key)
	}
	return signer, nil
}
