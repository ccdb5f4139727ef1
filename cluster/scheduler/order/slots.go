package order

import (
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Slots is the nodes that may get tasks or will again, in the order of their
// ids, with what is left of each. What a pass hands out is taken off at once.
type Slots struct {
	Node   []*api.Node
	Free   []api.Resources
	Coming []api.Resources // what tasks that were told to end give back
	Whole  []api.Resources // that the node has, less what is reserved
	Most   api.Resources   // the largest amount of each resource that one node has

	ids     map[string]int
	brief   []brief // of what is free
	taken   []int32 // slots that something was handed out from since they were read
	isTaken []bool

	changed []int32 // slots in the order of their changes
	dropped int     // changes before changed[0]
	epoch   int     // raised when the slots were numbered anew
	made    int64   // bytes of the orders made of them since Book.Trim looked
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

// Load reads all nodes of a view anew.
func (s *Slots) Load(v *fsm.View) {
	s.ids, s.Node, s.Free, s.Whole, s.brief, s.Coming, s.isTaken = map[string]int{}, nil, nil, nil, nil, nil, nil
	s.Most = api.Resources{}
	for n := range v.Nodes() {
		if n.State == api.NodeGone || n.VoterOnly {
			continue
		}
		_, free, coming := v.Room(n.ID)
		s.add(n, free, coming, v.Unreserved(n))
	}
	s.taken = nil
	s.changed, s.dropped = nil, 0
	s.epoch++
}

func (s *Slots) add(n *api.Node, free, coming, whole api.Resources) {
	s.ids[n.ID] = len(s.Node)
	s.Node, s.Free, s.Coming = append(s.Node, n), append(s.Free, free), append(s.Coming, coming)
	s.Whole, s.brief, s.isTaken = append(s.Whole, whole), append(s.brief, briefOf(n, &free)), append(s.isTaken, false)
	s.grow(n)
}

func (s *Slots) grow(n *api.Node) {
	r := n.Resources
	s.Most.CPUs, s.Most.Mem, s.Most.Disk, s.Most.GPUs = max(s.Most.CPUs, r.CPUs), max(s.Most.Mem, r.Mem), max(s.Most.Disk, r.Disk), max(s.Most.GPUs, r.GPUs)
}

// Refresh reads one node anew. It is false when the slots must be numbered
// anew: a node came or went.
func (s *Slots) Refresh(v *fsm.View, id string) bool {
	n, free, coming := v.Room(id)
	i, known := s.ids[id]
	wanted := n != nil && n.State != api.NodeGone && !n.VoterOnly
	if wanted != known {
		return false
	}
	if !known {
		return true
	}
	old := s.Node[i]
	if old != n && (n.Resources.CPUs > s.Most.CPUs || n.Resources.Mem > s.Most.Mem || n.Resources.GPUs > s.Most.GPUs || n.Resources.Disk > s.Most.Disk) {
		return false // scores are relative to the largest node
	}
	s.Node[i], s.Coming[i], s.Whole[i], s.isTaken[i] = n, coming, v.Unreserved(n), false
	s.Put(i, free)
	return true
}

// GiveBack reads the nodes anew that something was handed out from: what was
// decided may come to nothing. It is false as Refresh is.
func (s *Slots) GiveBack(v *fsm.View) bool {
	for _, i := range s.taken {
		if s.isTaken[i] && !s.Refresh(v, s.Node[i].ID) {
			return false
		}
	}
	s.taken = s.taken[:0]
	return true
}

// Of is the slot of a node.
func (s *Slots) Of(node string) (slot int, known bool) {
	slot, known = s.ids[node]
	return slot, known
}

// touch notes that a slot changed, for the classes.
func (s *Slots) touch(i int) {
	if len(s.changed) > 4*len(s.Node)+1024 {
		cut := len(s.changed) / 2
		s.dropped += cut
		s.changed = slices.Clone(s.changed[cut:])
	}
	s.changed = append(s.changed, int32(i))
}

// since is what changed after a position of an epoch, and false if that is no
// longer known.
func (s *Slots) since(epoch, pos int) ([]int32, bool) {
	if epoch != s.epoch || pos < s.dropped {
		return nil, false
	}
	return s.changed[pos-s.dropped:], true
}

func (s *Slots) pos() int { return s.dropped + len(s.changed) }

// Take hands out a part of a slot.
func (s *Slots) Take(i int, need api.Resources) {
	s.mark(i)
	s.Put(i, s.Free[i].Minus(need))
}

// Give takes back into a slot what is to be free once the pass is carried out.
func (s *Slots) Give(i int, more api.Resources) {
	s.mark(i)
	s.Put(i, s.Free[i].Add(more))
}

// mark has a slot read anew before the next pass.
func (s *Slots) mark(i int) {
	if !s.isTaken[i] {
		s.isTaken[i] = true
		s.taken = append(s.taken, int32(i))
	}
}

// Put says what is left of a slot.
func (s *Slots) Put(i int, free api.Resources) {
	s.Free[i], s.brief[i] = free, briefOf(s.Node[i], &free)
	s.touch(i)
}

// Lacks says what a node has too little of, "" if it has enough.
func Lacks(free, need api.Resources, anyPorts int) string {
	if short, ok := free.Missing(need); !ok {
		return short.String()
	}
	if anyPorts > 0 && !PortsLeft(free, need, anyPorts) {
		return "has no free ports"
	}
	return ""
}

// PortsLeft reports whether k ports are left beside those of a need.
func PortsLeft(free, need api.Resources, k int) bool {
	left := free.Ports
	if len(need.Ports) > 0 {
		left = left.Minus(need.Ports)
	}
	return left.Count() >= int64(k)
}
