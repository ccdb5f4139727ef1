package scheduler

import (
	"cmp"
	"fmt"

	"github.com/mesita/mesita/api"
)

// unavailable says why a node gets no new tasks at all, "" if it does.
func unavailable(n *api.Node) string {
	switch {
	case n.State == api.NodeGone:
		return "was removed"
	case n.VoterOnly:
		return "votes only"
	case n.Drain || n.State == api.NodeDraining:
		return "is draining"
	case n.Away:
		return "is away: its daemon does not answer, its tasks run on"
	case n.State != api.NodeReady:
		return "is " + n.State.String()
	case n.Outdated:
		return "runs an older mesita (" + n.Version + ") than the level of the cluster: upgrade it"
	case n.DiskFull:
		return "has a full disk"
	case n.KeeperSilent:
		return "has a keeper that does not answer: no task starts there"
	case n.Starts.Stopped():
		return api.CannotStart + n.Starts.Message
	}
	return ""
}

// besideReserved says that a node would have room if nothing of it was reserved, "" if it
// would lack it all the same.
func besideReserved(n *api.Node, whole, free, need api.Resources) string {
	kept := n.Resources.Minus(whole)
	if free.Fits(need) || !free.Add(kept).Fits(need) {
		return ""
	}
	return fmt.Sprintf("has too little beside what is reserved, which is %s (mesita node show %s)", cmp.Or(api.AmountsOf(kept).String(), kept.String()), n.Name)
}

// outside says what of a need other programs on a node have, "" if it would lack
// it all the same.
func outside(n *api.Node, free, need api.Resources) string {
	o := n.Outside
	if o == nil {
		return ""
	}
	if who := o.Holder(need.Ports.Minus(free.Ports)); who != "" {
		return who
	}
	if need.Mem > free.Mem && need.Mem <= free.Mem+o.Mem {
		return fmt.Sprintf("has %s mem free, and other programs there use %s of what is for tasks", free.Mem, o.Mem)
	}
	return ""
}
