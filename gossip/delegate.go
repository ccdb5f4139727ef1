package gossip

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate is memberlist's way to call us. memberlist holds its lock while it
// does, so every method returns at once.
type delegate struct {
	self    string
	log     *slog.Logger
	members *members
	holder  func(nodeID string) string
	meta    atomic.Pointer[[]byte]
}

var (
	_ memberlist.Delegate         = (*delegate)(nil)
	_ memberlist.EventDelegate    = (*delegate)(nil)
	_ memberlist.AliveDelegate    = (*delegate)(nil)
	_ memberlist.ConflictDelegate = (*delegate)(nil)
	_ memberlist.PingDelegate     = (*delegate)(nil)
)

func (d *delegate) NodeMeta(int) []byte { return *d.meta.Load() }

// NotifyAlive refuses a node whose meta is not of its own id, so every other
// call may rely on it.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	meta, err := decodeMeta(n.Meta)
	if err != nil {
		return err
	}
	if meta.ID != n.Name {
		return fmt.Errorf("meta is of node %q", meta.ID)
	}
	if err := d.checkHolder(meta); err != nil {
		return err
	}
	d.members.heard(meta.ID)
	return nil
}

// checkHolder refuses a second daemon with the id of a node that is heard. At
// the same address it can only be a later start.
func (d *delegate) checkHolder(meta Meta) error {
	if d.holder == nil || meta.Session == "" {
		return nil
	}
	m, ok := d.members.get(meta.ID)
	if !ok || m.State != Alive || m.Addr == meta.Addr || m.Meta.Session == meta.Session || m.Meta.Session == "" || m.Meta.Session != d.holder(meta.ID) {
		return nil
	}
	return fmt.Errorf("another daemon with the id of node %q, at %s", meta.Name, meta.Addr)
}

func (d *delegate) NotifyJoin(n *memberlist.Node)   { d.present(n, EventJoin) }
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.present(n, EventUpdate) }

func (d *delegate) present(n *memberlist.Node, kind EventType) {
	if meta, err := decodeMeta(n.Meta); err == nil {
		d.members.present(meta, kind)
	}
}

func (d *delegate) NotifyLeave(n *memberlist.Node) {
	if meta, err := decodeMeta(n.Meta); err == nil {
		d.members.absent(meta)
	}
}

func (d *delegate) NotifyConflict(_, other *memberlist.Node) {
	meta, err := decodeMeta(other.Meta)
	if err != nil || !d.members.moved(meta) {
		return
	}
	if meta.ID == d.self {
		d.log.Error("another process runs with this node's key: stop one of the two, and never copy a data folder", "at", meta.Addr)
		return
	}
	d.log.Info("node moved", "node", meta.Name, "addr", meta.Addr)
}

func (d *delegate) AckPayload() []byte { return nil }

func (d *delegate) NotifyPingComplete(n *memberlist.Node, _ time.Duration, _ []byte) {
	d.members.heard(n.Name)
}

// There is no user data in this gossip.

// NotifyMsg takes a goodbye.
func (d *delegate) NotifyMsg(b []byte) {
	if meta, err := decodeMeta(b); err == nil && meta.Leaving {
		d.members.leaves(meta)
	}
}

func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (d *delegate) LocalState(bool) []byte          { return nil }
func (d *delegate) MergeRemoteState([]byte, bool)   {}
