package datadir

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/ages"
	"github.com/mesita/mesita/cluster/consensus"
)

// dataFormat is the version of the data folder's layout. A folder of a later age
// has the next one: a program that knows no ages would take it into the first.
const (
	dataFormat = 1
	ageFormat  = 2
)

// Node is what a node remembers of itself, in node.json.
type Node struct {
	Format    int      `json:"format"`
	NodeID    string   `json:"nodeID"`
	Name      string   `json:"name"`
	ClusterID string   `json:"clusterID"`
	Cluster   string   `json:"cluster"`
	VoterOnly bool     `json:"voterOnly,omitempty"`
	Boot      string   `json:"boot"`
	Addr      string   `json:"addr,omitempty"`  // that the last start told the others
	Seeds     []string `json:"seeds,omitempty"` // where the others were when last seen
	GossipKey []byte   `json:"gossipKey"`

	GossipStep uint64   `json:"gossipStep,omitempty"` // of the change of that key
	GossipAlso [][]byte `json:"gossipAlso,omitempty"` // keys that are taken as well
	KeeperKey  []byte   `json:"keeperKey,omitempty"`  // what the keepers' keys are derived from; nil = GossipKey

	CAStep uint64 `json:"caStep,omitempty"` // of the change of the CA's key that this node has done

	Starts uint64 `json:"starts,omitempty"` // how often this folder was started
	// An older program, which an upgrade was taken back to, dropped the count: what
	// others saw may be more, until they were asked.
	Uncounted bool `json:"uncounted,omitempty"`

	Level int `json:"level,omitempty"` // of the cluster, at least: what a node may do follows from it before anybody is asked

	Started uint64 `json:"started,omitempty"` // what the last start told as its time, in nanoseconds

	// How far this node had come in Raft, at least; nil = it never took part. It
	// is outside of the raft folder, so that one that was lost is noticed.
	Raft    *consensus.Standing `json:"raft,omitempty"`
	Ages    ages.Line           `json:"ages,omitempty"`    // of the cluster, as this node is part of it
	Refill  bool                `json:"refill,omitempty"`  // the raft folder is of another age: to be put aside
	Odd     bool                `json:"odd,omitempty"`     // the raft folder holds another state than those of the other voters: to be put aside
	Demoted bool                `json:"demoted,omitempty"` // this node may vote no more: the raft folder, which has the CA's key, is to be erased
}

// Load reads node.json; nil if this folder has none yet. It fails with CodeFailed if it
// is damaged, and with CodeConflict if it is of a later program.
func (d *Dir) Load() (*Node, error) {
	n := new(Node)
	found, err := d.read("node.json", n, "restore it from a backup, or move the data folder away and join again")
	if !found || err != nil {
		return nil, err
	}
	if n.Format > ageFormat {
		return nil, api.Errorf(api.CodeConflict, "the data folder %s has format %d, this program reads up to %d: upgrade mesita on this node", d.Path, n.Format, ageFormat)
	}
	return n, nil
}

// Save writes node.json so that a power cut leaves the old or the new one.
func (d *Dir) Save(n *Node) error {
	n.Format = dataFormat
	if len(n.Ages) > 0 {
		n.Format = ageFormat
	}
	return d.write("node.json", n)
}

// KeepersKey is what the keepers' keys are derived from: they keep theirs, as they
// outlive any daemon that could tell them another.
func (n *Node) KeepersKey() []byte {
	if n.KeeperKey != nil {
		return n.KeeperKey
	}
	return n.GossipKey
}

// TakeRing notes the keys of gossip, and keeps that of the keepers.
func (n *Node) TakeRing(r *api.GossipRing) {
	n.KeeperKey = n.KeepersKey()
	if r.Keeper != nil {
		n.KeeperKey = r.Keeper
	}
	n.GossipStep, n.GossipKey, n.GossipAlso = r.Step, r.Send, r.Also
}
