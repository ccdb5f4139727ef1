package order

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Class is all tasks of a partition that ask for the same: they share one
// order of the nodes, which is kept up as nodes change.
type Class struct {
	Need     api.Resources
	AnyPorts int
	Near     *Near           // of a class that one job has to itself
	Avoid    map[string]bool // nodes where such a job could not start

	s         *Slots
	part      *api.Partition
	spec      *api.JobSpec // of any of its jobs
	placement api.Placement
	plain     bool // it asks for cpus and mem, and nothing else

	epoch  int
	pos    int // in the slots' changes
	seen   []*api.Node
	ok     []bool // the node meets all conditions
	wish   []float64
	shared bool           // seen, ok and wish are another's, too
	groups []group        // of nodes, by the value of the attribute to spread over
	where  []int32        // each slot's group
	rank   []int32        // and its place there
	index  map[string]int // groups by value
	used   int            // when it was used last
	moved  map[int]bool   // slots that stand elsewhere as long as a job sits here

	fullEpoch, fullPos int // in the slots' changes, when no slot had room
}

// IsFull reports whether no slot has room, as far as that is known without
// looking.
func (c *Class) IsFull() bool {
	return c != nil && !c.Own() && c.fullEpoch == c.s.epoch && c.fullPos == c.s.pos()
}

// Full notes that no slot has room now.
func (c *Class) Full() { c.fullEpoch, c.fullPos = c.s.epoch, c.s.pos() }

// Own reports whether one job has the class to itself, for what may change at any
// time: where other jobs are, or where its tasks could not start.
func (c *Class) Own() bool { return c.Near != nil || c.Avoid != nil }

// group is nodes among which the best is wanted.
type group struct {
	value   string
	members []int32
	best    *tournament
	draw    *lottery // instead, if placement is weighted
}

// A task is placed where the fewest of its job are, then where most wishes are
// met, then by score; scores are below ten.
const (
	perTask = 1e6
	perWish = 1e2
)

// Key names what the order of the nodes follows from: what a spec says of
// its places, and how its partition chooses.
func Key(part *api.Partition, s *api.JobSpec) string {
	return fmt.Sprint(placementOf(part), "|", part.Alpha, "|", part.Beta, "|", keyOf(part, s, s.Placing))
}

// conditionsKey names what decides which nodes a task may go to, and into which
// groups they fall: the same without the amounts that are compared with what is
// free at the time.
func conditionsKey(part *api.Partition, s *api.JobSpec) string {
	p := s.Placing
	p.CPUs, p.Mem, p.MemLimit, p.Disk, p.GPUs, p.Ports, p.Custom = 0, 0, 0, 0, 0, nil, nil
	return fmt.Sprint(s.MemLimit > s.Mem, "|", keyOf(part, s, p))
}

// keyOf has all fields of a Placing and of the partition's conditions, whichever they
// are.
func keyOf(part *api.Partition, s *api.JobSpec, p api.Placing) string {
	text, err := json.Marshal(struct {
		Nodes []api.Constraint
		Kind  uint8
		Level fsm.Level
		P     api.Placing
	}{part.Nodes, uint8(s.Kind), fsm.SpecLevel(s), p})
	if err != nil {
		panic(fmt.Sprintf("what was submitted as JSON is none: %v", err))
	}
	return string(text)
}

func placementOf(part *api.Partition) api.Placement {
	if part == nil || part.Placement == "" {
		return api.PlaceSpread
	}
	return part.Placement
}

// NewClass makes one whose order is not made yet.
func NewClass(s *Slots, part *api.Partition, spec *api.JobSpec) *Class {
	c := &Class{s: s, part: part, spec: spec, Need: spec.Need(), AnyPorts: spec.AnyPorts(), placement: placementOf(part), epoch: -1, fullEpoch: -1, moved: map[int]bool{}}
	rest := c.Need
	rest.CPUs, rest.Mem = 0, 0
	c.plain = c.AnyPorts == 0 && c.Need.Mem >= 0 && reflect.ValueOf(rest).IsZero()
	return c
}

// copyFor is the same order for another partition: to copy one costs a quarter
// of building it.
func (c *Class) copyFor(part *api.Partition, spec *api.JobSpec) *Class {
	n := *c // what only building changes is shared
	n.part, n.spec, n.moved, n.fullEpoch = part, spec, map[int]bool{}, -1
	n.shared, c.shared = true, true
	n.groups = slices.Clone(c.groups)
	for g := range n.groups {
		n.groups[g].best, n.groups[g].draw = c.groups[g].best.clone(), c.groups[g].draw.clone()
	}
	for i := range c.moved {
		n.set(i, n.keyOf(i))
	}
	n.s.made += n.size()
	return &n
}

// CatchUp brings the order up to date.
func (c *Class) CatchUp() {
	changes, known := c.s.since(c.epoch, c.pos)
	if !known || len(changes) > len(c.s.Node)/2+16 {
		c.Build()
		return
	}
	for _, i := range changes {
		if c.seen[i] != c.s.Node[i] && c.seen[i].Attr(c.spec.Spread) != c.s.Node[i].Attr(c.spec.Spread) {
			c.Build() // it changed its group
			return
		}
		c.update(int(i))
	}
	c.pos = c.s.pos()
}

// Build makes the order anew.
func (c *Class) Build() {
	n := len(c.s.Node)
	c.epoch, c.pos = c.s.epoch, c.s.pos()
	c.seen, c.ok, c.wish, c.shared = make([]*api.Node, n), make([]bool, n), make([]float64, n), false
	c.where, c.rank, c.index, c.groups = make([]int32, n), make([]int32, n), map[string]int{}, nil
	for i, node := range c.s.Node {
		c.look(i)
		value := ""
		if c.spec.Spread != "" {
			value = node.Attr(c.spec.Spread)
		}
		g, ok := c.index[value]
		if !ok {
			g = len(c.groups)
			c.index[value] = g
			c.groups = append(c.groups, group{value: value})
		}
		c.where[i], c.rank[i] = int32(g), int32(len(c.groups[g].members))
		c.groups[g].members = append(c.groups[g].members, int32(i))
	}
	c.sort()
	c.s.made += c.size()
}

// buildLike is Build for one that has the same conditions as another, which has
// looked at the nodes already. It is false if they changed since.
func (c *Class) buildLike(kin *Class) bool {
	changes, known := c.s.since(kin.epoch, kin.pos)
	if !known {
		return false
	}
	for _, i := range changes {
		if kin.seen[i] != c.s.Node[i] {
			return false
		}
	}
	c.epoch, c.pos = c.s.epoch, c.s.pos()
	c.seen, c.ok, c.wish = kin.seen, kin.ok, kin.wish
	c.shared, kin.shared = true, true
	c.where, c.rank, c.index, c.groups = kin.where, kin.rank, kin.index, slices.Clone(kin.groups)
	c.sort()
	c.s.made += c.size()
	return true
}

// sort puts the nodes of each group in order.
func (c *Class) sort() {
	for g := range c.groups {
		keys := make([]float64, len(c.groups[g].members))
		for k, i := range c.groups[g].members {
			keys[k] = c.keyOf(int(i))
		}
		c.groups[g].best, c.groups[g].draw = nil, nil
		if c.placement == api.PlaceWeighted {
			c.groups[g].draw = newLottery(keys)
		} else {
			c.groups[g].best = newTournament(keys)
		}
	}
}

// look checks the conditions of a node that is new or changed.
func (c *Class) look(i int) {
	if c.shared {
		c.seen, c.ok, c.wish, c.shared = slices.Clone(c.seen), slices.Clone(c.ok), slices.Clone(c.wish), false
		c.s.made += int64(len(c.seen)) * perSlot
	}
	n := c.s.Node[i]
	c.seen[i] = n
	c.ok[i] = n.Schedulable() && !c.Avoid[n.ID] && fsm.Unfit(n, c.part, c.spec) == ""
	c.wish[i] = 0
	for _, p := range c.spec.Prefer {
		if !p.Match(n.Name, n.Attrs) {
			c.wish[i]++
		}
	}
	if c.Near != nil && c.ok[i] {
		missed, against := c.Near.Check(n)
		c.wish[i] += float64(missed)
		c.ok[i] = against == nil
	}
}

// update puts a slot back to the place that follows from what is left of it.
func (c *Class) update(i int) {
	if c.seen[i] != c.s.Node[i] {
		c.look(i)
	}
	c.set(i, c.keyOf(i))
}

func (c *Class) set(i int, key float64) {
	g := &c.groups[c.where[i]]
	if g.draw != nil {
		g.draw.set(int(c.rank[i]), key)
		return
	}
	g.best.set(int(c.rank[i]), key)
}

// bar takes a slot out of the order.
func (c *Class) bar(i int) {
	if c.placement == api.PlaceWeighted {
		c.set(i, 0)
		return
	}
	c.set(i, none)
}

// Fits reports whether a slot can take one more task.
func (c *Class) Fits(i int) bool {
	if b := &c.s.brief[i]; !c.ok[i] || b.cpus < int64(c.Need.CPUs) || b.mem < int64(c.Need.Mem) {
		return false
	} else if c.plain {
		return b.fits >= int64(c.Need.Mem)
	}
	f := &c.s.Free[i]
	return f.Fits(c.Need) && (c.AnyPorts == 0 || PortsLeft(*f, c.Need, c.AnyPorts))
}

// May reports whether a slot meets all conditions.
func (c *Class) May(i int) bool { return c.ok[i] }

// CouldTake reports whether a slot has enough for a task when it is empty.
func (c *Class) CouldTake(i int) bool {
	if b := &c.s.brief[i]; b.totalCPUs < int64(c.Need.CPUs) || b.totalMem < int64(c.Need.Mem) {
		return false
	}
	return c.s.Whole[i].Fits(c.Need)
}

// Lack is how much a slot has too little of for a task, in units of the largest
// node.
func (c *Class) Lack(i int) float64 {
	b, most := &c.s.brief[i], &c.s.Most
	lack := missing(int64(c.Need.CPUs)-b.cpus, int64(most.CPUs)) + missing(int64(c.Need.Mem)-b.mem, int64(most.Mem))
	if c.Need.GPUs > 0 {
		lack += missing(c.Need.GPUs-c.s.Free[i].GPUs, most.GPUs)
	}
	return lack
}

func missing(lack, most int64) float64 {
	if lack <= 0 || most <= 0 {
		return 0
	}
	return float64(lack) / float64(most)
}

// keyOf is a slot's place in the order: the smaller the better; when drawn, its
// weight.
func (c *Class) keyOf(i int) float64 {
	if c.placement == api.PlaceWeighted {
		if !c.Fits(i) {
			return 0
		}
		return c.chance(i)
	}
	if !c.Fits(i) {
		return none
	}
	if c.placement == api.PlaceSpread {
		return c.wish[i]*perWish + c.load(i)
	}
	return c.wish[i]*perWish + c.leftover(i)
}

// load is the share of the scarcest of cpus and mem that is in use once the
// task is placed.
func (c *Class) load(i int) float64 {
	b := &c.s.brief[i]
	return max(inUse(b.totalCPUs, b.cpus-int64(c.Need.CPUs)), inUse(b.totalMem, b.mem-int64(c.Need.Mem)))
}

func inUse(total, left int64) float64 {
	if total <= 0 {
		return 1
	}
	return 1 - float64(left)/float64(total)
}

// leftover is how far the node's free vector is from nothing once the task is
// placed, in units of the largest node: the best fit leaves least.
func (c *Class) leftover(i int) float64 {
	f, most := &c.s.Free[i], &c.s.Most
	d := square(int64(f.CPUs-c.Need.CPUs), int64(most.CPUs)) + square(int64(f.Mem-c.Need.Mem), int64(most.Mem)) + square(f.GPUs-c.Need.GPUs, most.GPUs)
	if c.Need.Disk > 0 {
		d += square(int64(f.Disk-c.Need.Disk), int64(most.Disk))
	}
	return math.Sqrt(d)
}

func square(left, most int64) float64 {
	if most <= 0 {
		return 0
	}
	x := float64(left) / float64(most)
	return x * x
}

// chance is a node's weight in the draw: its own weight and its free share, to
// the powers alpha and beta.
func (c *Class) chance(i int) float64 {
	n, f := c.s.Node[i], &c.s.Free[i]
	weight := max(n.Resources.CPUs.Cores(), 0.001)
	if text := n.Attrs["weight"]; text != "" {
		if w, err := api.ParseWeight(text); err == nil && w > 0 {
			weight = w.Float()
		}
	}
	free := min(share(int64(f.CPUs), int64(n.Resources.CPUs)), share(int64(f.Mem), int64(n.Resources.Mem)))
	return math.Pow(weight, c.part.Alpha.Float()) * math.Pow(free, c.part.Beta.Float()) * math.Pow(0.1, c.wish[i])
}

func share(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}
