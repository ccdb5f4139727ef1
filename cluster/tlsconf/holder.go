package tlsconf

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Protocols of the one port, as ALPN names. What begins with "mesita/" is for
// nodes only.
const (
	ProtoRaft   = "mesita/raft"
	ProtoGossip = "mesita/gossip"
	protoHTTP2  = "h2"
	protoHTTP1  = "http/1.1"
	nodeProtos  = "mesita/"
)

// Protocols is every ALPN name of the one port, in order of preference.
func Protocols() []string { return []string{protoHTTP2, protoHTTP1, ProtoRaft, ProtoGossip} }

// BetweenNodes reports whether a connection of these ALPN names carries what nodes
// tell each other all the time, rather than HTTP.
func BetweenNodes(protos []string) bool {
	return len(protos) > 0 && strings.HasPrefix(protos[0], nodeProtos)
}

// Holder is a node's certificate as it is now. Configs made from it follow a
// Swap at once: listeners and connections stay as they are.
type Holder struct {
	key *NodeKey
	now func() time.Time
	// session is what others tell this daemon by from another with its key.
	session string
	// refused is told when another node refused this one.
	refused chan struct{} // cap 1
	// strange is told when a server's certificate is of an unknown authority.
	strange chan struct{} // cap 1
	// outdated is told when the certificate is not of the key that signs any more.
	outdated chan struct{} // cap 1

	showing sync.Mutex // who changes current or past
	past    atomic.Pointer[[][]byte]
	trusts  atomic.Pointer[trust]
	current atomic.Pointer[tls.Certificate]
	admit   atomic.Pointer[func(Caller) error]
	member  atomic.Pointer[func(nodeID string) bool]
	gone    atomic.Pointer[func(nodeID string) bool]
	kept    kept
}

// trust is the authority as a node knows it.
type trust struct {
	cas  []*x509.Certificate // the first is of the key that signs
	pool *x509.CertPool
}

func newTrust(cas []*x509.Certificate) *trust {
	t := &trust{cas: cas, pool: x509.NewCertPool()}
	for _, ca := range cas {
		t.pool.AddCert(ca)
	}
	return t
}

// signed reports whether a certificate is of one of some authorities, whatever its
// dates.
func signed(leaf *x509.Certificate, by *x509.CertPool) bool {
	_, err := leaf.Verify(x509.VerifyOptions{Roots: by, CurrentTime: leaf.NotAfter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

// NewHolder holds certPEM for key under the authority caPEM; now is nil for
// the wall clock. An expired certificate is taken, so that it can be renewed;
// one of another key or authority is refused.
func NewHolder(key *NodeKey, certPEM, caPEM []byte, now func() time.Time) (*Holder, error) {
	cas, err := parseCerts(caPEM)
	if err != nil {
		return nil, fmt.Errorf("CA certificate: %w", err)
	}
	if now == nil {
		now = time.Now
	}
	h := &Holder{key: key, now: now, refused: make(chan struct{}, 1), strange: make(chan struct{}, 1), outdated: make(chan struct{}, 1)}
	h.trusts.Store(newTrust(cas))
	if err := h.Swap(certPEM); err != nil {
		return nil, err
	}
	return h, nil
}

// CSR is a request for a certificate of the node's key.
func (h *Holder) CSR() ([]byte, error) { return h.key.CSR() }

// ID is the node's id.
func (h *Holder) ID() string { return h.key.id }

// Leaf is the certificate in use.
func (h *Holder) Leaf() *x509.Certificate { return h.current.Load().Leaf }

// SetRoots changes the authorities that are trusted; the first is the one that
// signs. Connections of others end.
func (h *Holder) SetRoots(caPEM []byte) error {
	cas, err := parseCerts(caPEM)
	if err != nil {
		return fmt.Errorf("CA certificate: %w", err)
	}
	h.trusts.Store(newTrust(cas))
	h.EndStrange()
	return nil
}

// RootsPEM is all authorities that are trusted.
func (h *Holder) RootsPEM() []byte {
	var out []byte
	for _, ca := range h.trusts.Load().cas {
		out = append(out, encodeCert(ca.Raw)...)
	}
	return out
}

// SignerPEM is the authority of the certificate in use.
func (h *Holder) SignerPEM() []byte {
	chain := h.current.Load().Certificate
	return encodeCert(chain[len(chain)-1])
}

// CertPEM is the certificate in use.
func (h *Holder) CertPEM() []byte { return encodeCert(h.Leaf().Raw) }

// SignedBy reports whether the certificate in use is of the first of some
// authorities.
func (h *Holder) SignedBy(caPEM []byte) bool {
	cas, err := parseCerts(caPEM)
	return err == nil && signed(h.Leaf(), newTrust(cas[:1]).pool)
}

// Signs reports whether an authority is the one that signs now, as far as this node
// knows.
func (h *Holder) Signs(caPEM []byte) bool {
	certs, err := parseCerts(caPEM)
	return err == nil && certs[0].Equal(h.trusts.Load().cas[0])
}

// Outdated is to be called when another key signs now: the rotator gets a new
// certificate at once.
func (h *Holder) Outdated() { poke(h.outdated) }

// Strange fires when this node met a server whose authority it does not know.
func (h *Holder) Strange() <-chan struct{} { return h.strange }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Refused is to be called when another node refuses this one: the rotator asks
// why, and for a new certificate.
func (h *Holder) Refused() { poke(h.refused) }

// Expired tells since when the certificate is no longer good, zero if it is.
func (h *Holder) Expired() time.Time {
	if leaf := h.Leaf(); h.now().After(leaf.NotAfter) {
		return leaf.NotAfter
	}
	return time.Time{}
}

// Swap puts a new certificate in use once it has been checked against the
// node's key and the cluster's authority.
func (h *Holder) Swap(certPEM []byte) error {
	certs, err := parseCerts(certPEM)
	if err != nil {
		return fmt.Errorf("node certificate: %w", err)
	}
	leaf := certs[0]
	pub, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(h.key.key.Public()) {
		return fmt.Errorf("node certificate: %w: it is for %q, this node is %q", ErrWrongKey, leaf.Subject.CommonName, h.key.id)
	}
	if id, ok := certID(leaf); !ok || id != h.key.id {
		return fmt.Errorf("node certificate: %q is not a node certificate", leaf.Subject.CommonName)
	}
	// Checked as of its own time: that it has expired is for the rotator to mend.
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: h.trusts.Load().pool, CurrentTime: leaf.NotAfter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return fmt.Errorf("node certificate: is not of this cluster's authority: %w", err)
	}
	h.showing.Lock()
	defer h.showing.Unlock()
	h.show(leaf, chains[0][len(chains[0])-1].Raw)
	return nil
}

// Caller is a node with a good certificate at the other end of a handshake for
// one of the node-only protocols.
type Caller struct {
	Peer
	Proto  string
	Dialed bool // by this node
}

// SetAdmit has every peer with a valid node certificate checked once more for
// node-only protocols, so that a removed node is shut out before its
// certificate expires, one that has no business there, and a second daemon with
// a node's key. admit may take a second, and is called concurrently.
func (h *Holder) SetAdmit(admit func(Caller) error) { h.admit.Store(&admit) }

// SetSession has this node tell its session, a word of a-z, 0-9 and '-', with
// each connection. It is called before there is one.
func (h *Holder) SetSession(session string) { h.session = session }

// SetMember says which nodes the state knows as members: their certificates
// are good whatever their date, see verify. Like admit it must be quick.
func (h *Holder) SetMember(member func(nodeID string) bool) { h.member.Store(&member) }

// ServerConfig is for the one port: TLS 1.3, client certificates optional for
// HTTP and required, as a node's, for the protocols of nodes.
func (h *Holder) ServerConfig(alpn []string) *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		NextProtos:       slices.Clone(alpn),
		Time:             h.now,
		ClientAuth:       tls.RequestClientCert, // verifyClient looks at it
		ClientCAs:        h.trusts.Load().pool,  // a hint; the next key has the same name
		GetCertificate:   func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return h.current.Load(), nil },
		VerifyConnection: h.verifyClient,
		// A resumed session would outlive the removal of a node.
		SessionTicketsDisabled: true,
	}
}

func (h *Holder) admitted(c Caller) error {
	if admit := h.admit.Load(); admit != nil {
		return (*admit)(c)
	}
	return nil
}

// Votes reports whether the certificate in use says that this node is a voter.
func (h *Holder) Votes() bool { return saysVoter(h.Leaf()) }

// ClientConfig is for calling another node over one protocol ("" for HTTP,
// whose transport chooses itself). The server must hold a certificate of the
// cluster's authority for expectNodeID, or for any node if that is empty.
func (h *Holder) ClientConfig(alpn string, expectNodeID string) *tls.Config {
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         AnyNode,
		InsecureSkipVerify: true, // VerifyConnection does it: an id is not a host name, and a date may be wrong
		VerifyConnection: func(cs tls.ConnectionState) error {
			return h.verifyServer(cs, alpn, expectNodeID)
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return h.current.Load(), nil
		},
	}
	switch {
	case h.session != "":
		conf.ServerName = h.session + sessionSuffix
	case expectNodeID != "":
		conf.ServerName = nodeHost(expectNodeID)
	}
	if alpn != "" {
		conf.NextProtos = []string{alpn}
	}
	return conf
}

// VoterConfig is like ClientConfig for HTTP with a server that is a voter: who
// has no copy of the state believes no other what the state is.
func (h *Holder) VoterConfig(expectNodeID string) *tls.Config {
	conf := h.ClientConfig(protoHTTP1, expectNodeID)
	verify := conf.VerifyConnection
	conf.VerifyConnection = func(cs tls.ConnectionState) error {
		if err := verify(cs); err != nil {
			return err
		}
		if !saysVoter(cs.PeerCertificates[0]) {
			return fmt.Errorf("the server: %w", ErrNoVoter)
		}
		return nil
	}
	return conf
}

// saysVoter reports whether a verified certificate is of a voter: who has the
// authority's key signs for itself, and for others never so.
func saysVoter(leaf *x509.Certificate) bool { return slices.Contains(leaf.DNSNames, voterHost) }

// certID trusts the key, not the text: the id is computed again.
func certID(leaf *x509.Certificate) (string, bool) {
	id := NodeID(leaf.PublicKey)
	if id == "" || leaf.Subject.CommonName != id || !slices.Equal(leaf.Subject.OrganizationalUnit, []string{nodeUnit}) ||
		!slices.Contains(leaf.DNSNames, nodeHost(id)) {
		return "", false
	}
	return id, true
}
