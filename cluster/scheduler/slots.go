package scheduler

import (
	"fmt"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// slots is the nodes that may get tasks or will again, in the order of their
// ids, with what is left of each. What a pass hands out is taken off at once.
type slots struct {
	ids        map[string]int
	node       []*api.Node
	free       []api.Resources
	brief      []brief // of the same
	reclaiming []api.Resources
	most       api.Resources // the largest amount of each resource that one node has

	taken   []int32 // slots that something was handed out from since they were read
	isTaken []bool

	changed []int32 // slots in the order of their changes
	dropped int     // changes before changed[0]
	epoch   int     // raised when the slots were numbered anew
	made    int64   // bytes of the orders made of them since Engine.trim looked
}

// brief is what the order of the nodes follows from most often, close together:
// making an order reads it of every node.
type brief struct {
	totalCPUs, totalMem int64
	cpus, mem           int64 // free
	fits                int64 // the most memory that a task may ask for which wants none of what is not here
}

func briefOf(n *api.Node, free *api.Resources) brief {
	b := brief{totalCPUs: int64(n.Resources.CPUs), totalMem: int64(n.Resources.Mem), cpus: int64(free.CPUs), mem: int64(free.Mem), fits: -1}
	if free.Pins >= 0 && free.Disk >= 0 && free.GPUs >= 0 {
		b.fits = int64(min(free.Mem, free.MemLimit()))
	}
	return b
}

// load reads all nodes of a view anew.
func (s *slots) load(v *fsm.View) {
	s.ids, s.node, s.free, s.brief, s.reclaiming = map[string]int{}, nil, nil, nil, nil
	s.most = api.Resources{}
	for n := range v.Nodes() {
		if n.State == api.NodeGone || n.VoterOnly {
			continue
		}
		_, free, coming := v.Room(n.ID)
		s.ids[n.ID] = len(s.node)
		s.node, s.free, s.reclaiming = append(s.node, n), append(s.free, free), append(s.reclaiming, coming)
		s.brief = append(s.brief, briefOf(n, &free))
		s.grow(n)
	}
	s.taken, s.isTaken = nil, make([]bool, len(s.node))
	s.changed, s.dropped = nil, 0
	s.epoch++
}

func (s *slots) grow(n *api.Node) {
	r := n.Resources
	s.most.CPUs, s.most.Mem, s.most.Disk, s.most.GPUs = max(s.most.CPUs, r.CPUs), max(s.most.Mem, r.Mem), max(s.most.Disk, r.Disk), max(s.most.GPUs, r.GPUs)
}

// refresh reads one node anew. It is false when the slots must be numbered
// anew: a node came or went.
func (s *slots) refresh(v *fsm.View, id string) bool {
	n, free, coming := v.Room(id)
	i, known := s.ids[id]
	wanted := n != nil && n.State != api.NodeGone && !n.VoterOnly
	if wanted != known {
		return false
	}
	if !known {
		return true
	}
	old := s.node[i]
	if old != n && (n.Resources.CPUs > s.most.CPUs || n.Resources.Mem > s.most.Mem || n.Resources.GPUs > s.most.GPUs || n.Resources.Disk > s.most.Disk) {
		return false // scores are relative to the largest node
	}
	s.node[i], s.reclaiming[i], s.isTaken[i] = n, coming, false
	s.put(i, free)
	return true
}

// giveBack reads the nodes anew that something was handed out from: what was
// decided may come to nothing. It is false as refresh is.
func (s *slots) giveBack(v *fsm.View) bool {
	for _, i := range s.taken {
		if s.isTaken[i] && !s.refresh(v, s.node[i].ID) {
			return false
		}
	}
	s.taken = s.taken[:0]
	return true
}

// touch notes that a slot changed, for the classes.
func (s *slots) touch(i int) {
	if len(s.changed) > 4*len(s.node)+1024 {
		cut := len(s.changed) / 2
		s.dropped += cut
		s.changed = slices.Clone(s.changed[cut:])
	}
	s.changed = append(s.changed, int32(i))
}

// since is what changed after a position of an epoch, and false if that is no
// longer known.
func (s *slots) since(epoch, pos int) ([]int32, bool) {
	if epoch != s.epoch || pos < s.dropped {
		return nil, false
	}
	return s.changed[pos-s.dropped:], true
}

func (s *slots) pos() int { return s.dropped + len(s.changed) }

// take hands out a part of a slot.
func (s *slots) take(i int, need api.Resources) {
	if !s.isTaken[i] {
		s.isTaken[i] = true
		s.taken = append(s.taken, int32(i))
	}
	s.put(i, s.free[i].Minus(need))
}

// put says what is left of a slot.
func (s *slots) put(i int, free api.Resources) {
	s.free[i], s.brief[i] = free, briefOf(s.node[i], &free)
	s.touch(i)
}

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

// lacks says what a node has too little of, "" if it has enough.
func lacks(free, need api.Resources, anyPorts int) string {
	if short, ok := free.Missing(need); !ok {
		return short.String()
	}
	if anyPorts > 0 && !portsLeft(free, need, anyPorts) {
		return "has no free ports"
	}
	return ""
}

func portsLeft(free, need api.Resources, k int) bool {
	left := free.Ports
	if len(need.Ports) > 0 {
		left = left.Minus(need.Ports)
	}
	return left.Count() >= int64(k)
}
