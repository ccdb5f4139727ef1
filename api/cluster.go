package api

import "time"

// Cluster is what every node of a cluster agrees on.
type Cluster struct {
	Extra
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created,omitzero"`

	// NoLocalAdmin: root of a machine that does not vote is not an admin of the cluster,
	// and sees its own node alone.
	NoLocalAdmin bool `json:"noLocalAdmin,omitempty"`
}

// ClusterChange says what shall be otherwise of the cluster.
type ClusterChange struct {
	NoLocalAdmin *bool `json:"noLocalAdmin,omitempty"`
}

// Validate checks a change.
func (c *ClusterChange) Validate() error {
	if c.NoLocalAdmin == nil {
		return FieldErrorf("noLocalAdmin", "is missing: give what shall be changed")
	}
	return nil
}

// Authority is the cluster's secrets. Only voters hold them; no API shows them.
type Authority struct {
	Extra
	CACert    []byte // PEM
	CAKey     []byte // PEM
	GossipKey []byte // 32 bytes
	Pin       string // hash of the CA's public key

	// The change of gossip's key. Its steps are counted from the start of the
	// cluster, three for each: GossipStep%3 is 1 while GossipNext is told to all,
	// 2 while it is in use as GossipKey and the former one, in GossipNext, is still
	// taken.
	GossipStep  uint64 `json:",omitempty"`
	GossipNext  []byte `json:",omitempty"`
	GossipGone  uint64 `json:",omitempty"` // index of the latest removal of a node that a change was begun for
	GossipSince int64  `json:",omitempty"` // the last change began, in Unix seconds
	KeeperKey   []byte `json:",omitempty"` // what the keepers' keys are derived from; nil = GossipKey

	// The change of the CA's key, in as many steps: CAStep%3 is 1 while CANext is told
	// to all, 2 while it is in use as CACert, and the former one, in CANext, is still
	// trusted.
	CAStep    uint64   `json:",omitempty"`
	CANext    []byte   `json:",omitempty"` // PEM
	CANextKey []byte   `json:",omitempty"` // PEM, until it is in use
	CANextPin string   `json:",omitempty"`
	CAPast    []PastCA `json:",omitempty"`
	CADue     uint64   `json:",omitempty"` // how many that had the key may vote no more since it changed last: it is to be changed
}

// Ring is what nodes need to know of the keys of gossip.
func (a *Authority) Ring() *GossipRing {
	r := &GossipRing{Step: a.GossipStep, Send: a.GossipKey, Keeper: a.KeeperKey}
	if a.GossipNext != nil {
		r.Also = [][]byte{a.GossipNext}
	}
	return r
}

// GossipRing is the keys of gossip at one step of their change.
type GossipRing struct {
	Step   uint64   `json:"step,omitempty"`
	Send   []byte   `json:"send"`           // with this
	Also   [][]byte `json:"also,omitempty"` // taken as well
	Keeper []byte   `json:"keeper,omitempty"`
}

// NoLeader begins the reason of a node that can do its part, but hears of no
// leader.
const NoLeader = "the cluster has no leader: most of its voters must be up and reach each other"

// Health is what /v1/health answers.
type Health struct {
	Leader  string `json:"leader"` // the leader's name
	Quorum  bool   `json:"quorum"`
	Node    string `json:"node"` // who answers
	Version string `json:"version"`
	Index   uint64 `json:"index"`
	Reason  string `json:"reason,omitempty"`
	Role    string `json:"role,omitempty"`    // of the node that answers: "voter", "voter, leader" or "worker"
	Session string `json:"session,omitempty"` // of the daemon that answers; new with each start
}

// JoinRequest is what a joiner sends once it has checked the CA pin.
type JoinRequest struct {
	Token     string `json:"token"` // the id and the secret, without the pin
	CSR       []byte `json:"csr"`   // DER
	Name      string `json:"name"`
	Cluster   string `json:"cluster"` // the name in the token
	VoterOnly bool   `json:"voterOnly,omitempty"`

	Level int `json:"-"` // in HeaderLevel
}

// JoinGrant is what a joiner gets.
type JoinGrant struct {
	NodeID      string   `json:"nodeID"`
	Name        string   `json:"name"`
	Cluster     *Cluster `json:"cluster"`
	Certificate []byte   `json:"certificate"` // PEM
	CACert      []byte   `json:"caCert"`      // PEM
	GossipKey   []byte   `json:"gossipKey"`
	Seeds       []string `json:"seeds"`          // addresses of nodes
	Ages        string   `json:"ages,omitempty"` // of the cluster, as nodes tell each other; "" in the first
	Level       int      `json:"level,omitempty"`

	Ring *GossipRing `json:"ring,omitempty"` // GossipKey, and what else is taken
	CA   *CARoots    `json:"ca,omitempty"`   // CACert, and what else is trusted
}

// Renewal is what a node gets that proves its key: a new certificate, or that it
// was removed.
type Renewal struct {
	Certificate []byte   `json:"certificate,omitempty"` // PEM
	Removal     *Removal `json:"removal,omitempty"`
}

// Removal says that a node was removed from its cluster, signed by the cluster's
// CA for that node's key.
type Removal struct {
	At        time.Time `json:"at"`
	Age       string    `json:"age,omitempty"` // id of that of the cluster where it was; "" is the first
	Signature []byte    `json:"signature"`
}

// Blob is an uploaded program.
type Blob struct {
	Extra
	Revision uint64    `json:"revision,omitempty"` // index of the log entry that changed it last
	Digest   string    `json:"digest"`             // "sha256:" and 64 hex digits
	Name     string    `json:"name"`
	Size     int64     `json:"size"`
	Nodes    []string  `json:"nodes"` // ids of the nodes that hold it for the others
	Created  time.Time `json:"created,omitzero"`
}

// MaxBlob is the most bytes an uploaded program may have.
const MaxBlob = 512 << 20

// ValidDigest reports whether s is "sha256:" and 64 lower-case hex digits.
func ValidDigest(s string) bool {
	if len(s) != 71 || s[:7] != "sha256:" {
		return false
	}
	for _, c := range s[7:] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
