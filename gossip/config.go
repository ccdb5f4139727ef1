package gossip

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/hashicorp/memberlist"
)

// Profile is a set of timings.
type Profile int

const (
	// ProfileLAN finds a dead node in 3 to 7 s, by the size of the cluster.
	ProfileLAN Profile = iota
	// ProfileWAN is for nodes far apart: it finds a dead node in about a minute.
	ProfileWAN
)

// Config is what New needs.
type Config struct {
	NodeID    string   // also Meta.ID
	Name      string   // also Meta.Name
	ClusterID string   // label on each packet: two clusters never merge
	Key       []byte   // 32 bytes; encrypts packets and streams
	Also      [][]byte // keys that are taken as well; see SetKeys
	Meta      Meta
	Profile   Profile
	// Holder is the session that speaks for a node, "" if that is not known. As
	// long as it is heard, another one with the node's id is not. It must be
	// quick; nil is for all unknown.
	Holder func(nodeID string) (session string)
	Log    *slog.Logger

	// Transport carries packets and streams; see NewTransport. If nil,
	// memberlist's own is bound to BindAddr:BindPort, without TLS.
	Transport     memberlist.Transport
	BindAddr      string
	BindPort      int
	AdvertiseAddr string // IP that others use; empty: as the transport says
	AdvertisePort int
}

func (c *Config) validate() error {
	if c.Log == nil {
		return errors.New("gossip config: Log is missing")
	}
	if c.ClusterID == "" || len(c.ClusterID) > memberlist.LabelMaxSize {
		return fmt.Errorf("gossip config: ClusterID %.80q: want 1 to %d bytes", c.ClusterID, memberlist.LabelMaxSize)
	}
	if len(c.Key) != 32 {
		return fmt.Errorf("gossip config: Key has %d bytes, want 32", len(c.Key))
	}
	if c.Meta.ID != c.NodeID || c.Meta.Name != c.Name {
		return fmt.Errorf("gossip config: Meta is of node %q (%q), want %q (%q)", c.Meta.ID, c.Meta.Name, c.NodeID, c.Name)
	}
	if c.Profile != ProfileLAN && c.Profile != ProfileWAN {
		return fmt.Errorf("gossip config: unknown Profile %d", c.Profile)
	}
	_, err := c.Meta.encode()
	return err
}

func (c *Config) memberlist(d *delegate, ring *memberlist.Keyring) *memberlist.Config {
	mc := memberlist.DefaultLANConfig()
	mc.SuspicionMult = 2 // who acts on a failure asks the node first
	mc.SuspicionMaxTimeoutMult = 2
	// More often, and it is most of what an idle node does. Nodes with work are
	// asked more often, by the leader.
	mc.ProbeInterval = time.Second
	mc.ProbeTimeout = 400 * time.Millisecond
	mc.GossipInterval = time.Second
	mc.PushPullInterval = 20 * time.Second // two handshakes of TLS; it makes up for rumours that were lost
	mc.TCPTimeout = 5 * time.Second
	if c.Profile == ProfileWAN {
		mc.SuspicionMult = 6
		mc.ProbeInterval = 5 * time.Second
		mc.ProbeTimeout = 3 * time.Second
		mc.GossipInterval = 500 * time.Millisecond
		mc.GossipNodes = 4
		mc.TCPTimeout = 15 * time.Second
		mc.GossipToTheDeadTime = time.Minute
	}
	mc.Name = c.NodeID
	mc.Label = c.ClusterID
	mc.Keyring = ring
	mc.Transport = c.Transport
	mc.BindAddr, mc.BindPort = c.BindAddr, c.BindPort
	mc.AdvertiseAddr, mc.AdvertisePort = c.AdvertiseAddr, c.AdvertisePort
	// The id is a key hash that no other node can have, so a name that turns
	// up elsewhere is the node itself, moved.
	mc.DeadNodeReclaimTime = time.Millisecond
	// Packets are small, and v0.6 does not bound what it inflates.
	mc.EnableCompression = false
	// Each key holder is a member already; DNS is looked up by Join, with its context.
	mc.DNSConfigPath = "/dev/null"
	mc.Delegate, mc.Events, mc.Alive, mc.Conflict, mc.Ping = d, d, d, d, d
	mc.Logger = log.New(&logBridge{log: c.Log, suspect: d.members.suspect}, "", 0)
	return mc
}
