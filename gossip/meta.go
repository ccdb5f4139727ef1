package gossip

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/hashicorp/memberlist"
)

// Meta is what a node says of itself to all others, in at most 512 bytes.
type Meta struct {
	ID        string `json:"i"`           // node id: 1 to 64 of a-z, 0-9 and '-'
	Name      string `json:"n"`           // node name: the same, at most 63
	Addr      string `json:"a"`           // IP:port of the node's one port
	Version   string `json:"v,omitempty"` // of mesita, at most 64 bytes
	Voter     bool   `json:"r,omitempty"` // votes in Raft now
	VoterOnly bool   `json:"o,omitempty"` // runs no tasks
	Boot      uint64 `json:"b"`           // grows with each start of the node, such as its time in nanoseconds; not zero
	Level     int    `json:"k,omitempty"` // the highest level of a cluster that its program knows
	Cluster   int    `json:"c,omitempty"` // the level of the cluster, as far as it knows
	Hold      bool   `json:"h,omitempty"` // was told that the level is not to be raised
	Session   string `json:"d,omitempty"` // of the daemon, see Config.Holder; at most 40 bytes
	Leaving   bool   `json:"l,omitempty"` // set by Run when it stops on purpose
	Starts    uint64 `json:"s,omitempty"` // how often its data folder was started
	Term      uint64 `json:"t,omitempty"` // a voter's newest, not long ago
	LastTerm  uint64 `json:"u,omitempty"` // of its newest entry then
	LastIndex uint64 `json:"x,omitempty"` // of that entry
	Ring      uint64 `json:"g,omitempty"` // the step of the keys of gossip that it has, see fsm.GossipKey
	CA        uint64 `json:"w,omitempty"` // the step of the change of the CA's key that it has done, see fsm.CARotate
}

func (m Meta) validate() error {
	if err := checkWord("id", m.ID, 64); err != nil {
		return err
	}
	if err := checkWord("name", m.Name, 63); err != nil {
		return err
	}
	ap, err := netip.ParseAddrPort(m.Addr)
	if err != nil || ap.Port() == 0 || ap.Addr().IsUnspecified() {
		return fmt.Errorf("meta addr %q: want the IP and port that others reach the node at", m.Addr)
	}
	if len(m.Version) > 64 || strings.ContainsFunc(m.Version, func(r rune) bool { return r < '!' || r > '~' }) {
		return fmt.Errorf("meta version %q: want at most 64 printable characters", m.Version)
	}
	if len(m.Session) > 40 {
		return fmt.Errorf("meta session %.80q: want at most 40 bytes", m.Session)
	}
	if m.Boot == 0 {
		return fmt.Errorf("meta boot: is zero, want a number that grows with each start")
	}
	return nil
}

func checkWord(field, s string, limit int) error {
	if s == "" || len(s) > limit || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("meta %s %.80q: want 1 to %d of a-z, 0-9 and '-'", field, s, limit)
	}
	return nil
}

func (m Meta) encode() ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode meta: %w", err)
	}
	if len(data) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("meta: %d bytes, at most %d are allowed", len(data), memberlist.MetaMaxSize)
	}
	return data, nil
}

// decodeMeta takes a peer's word for it; unknown keys are a newer version's.
func decodeMeta(data []byte) (Meta, error) {
	var m Meta
	if len(data) > memberlist.MetaMaxSize {
		return m, fmt.Errorf("meta: %d bytes, at most %d are allowed", len(data), memberlist.MetaMaxSize)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("decode meta: %w", err)
	}
	return m, m.validate()
}
