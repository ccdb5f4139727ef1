package fsm

import (
	"bytes"
	"fmt"

	"github.com/mesita/mesita/api"
)

// The key of gossip changes in three steps, each when all nodes that are there
// have done the one before: all know the new key, all send with it, nobody takes
// the old one any more. Where it is, is in api.Authority.
const gossipSteps = 3

// GossipKey takes the change of gossip's key one step on. The first brings the
// new one. Its value is the *api.Authority.
type GossipKey struct {
	Meta
	Step uint64 `json:"step"`           // that it continues from
	Key  []byte `json:"key,omitempty"`  // the new one, in the first
	Gone uint64 `json:"gone,omitempty"` // in the first: index of the latest removal of a node that is known
}

// Events name no key.
var gossipStepText = [gossipSteps]string{"the new key is in use, and the old one forgotten", "a new key is being told to all nodes", "all nodes know the new key, and send with it"}

func (c *GossipKey) apply(x *tx) (any, error) {
	if x.authority == nil {
		return nil, conflict("the cluster is not made yet")
	}
	a := *x.authority
	begins := a.GossipStep%gossipSteps == 0
	switch {
	case a.GossipStep != c.Step:
		return nil, conflict("the change of gossip's key is now at step %d, not %d", a.GossipStep, c.Step)
	case begins && (len(c.Key) != 32 || bytes.Equal(c.Key, a.GossipKey)):
		return nil, api.FieldErrorf("key", "is not a new key of 32 bytes")
	case begins:
		if a.KeeperKey == nil { // keepers were told what is derived of the first
			a.KeeperKey = a.GossipKey
		}
		a.GossipNext, a.GossipGone, a.GossipSince = c.Key, c.Gone, c.At.Unix()
	case a.GossipStep%gossipSteps == 1:
		a.GossipKey, a.GossipNext = a.GossipNext, a.GossipKey
	default:
		a.GossipNext = nil
	}
	a.GossipStep++
	x.authority = &a
	x.touch(TableCluster, x.cluster.ID)
	x.happened(api.Event{Kind: api.EventGossipKey, Object: x.cluster.ID, Message: fmt.Sprintf("%s (step %d)", gossipStepText[a.GossipStep%gossipSteps], a.GossipStep)})
	return &a, nil
}
