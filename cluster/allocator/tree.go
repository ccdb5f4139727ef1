package allocator

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// part is a partition during one round, with what it and those below it hold.
type part struct {
	p         *api.Partition
	path      string
	parent    *part // nil at the root
	depth     int   // parts above it
	children  []*part
	own       *part // of one with children: the stand-in for its own jobs
	weight    float64
	priority  int
	guarantee api.Amounts
	limit     api.Amounts
	promised  bool // it has a guarantee
	limited   bool // it has a limit

	used    api.Resources // with all below
	offered api.Resources // what of that is on offer
	wants   int           // what claimants want, with all below
	runs    int           // tasks on nodes, likewise
	active  bool          // something in it still wants to be served in this round
	key     key
}

// key is a part's place in the order of service; the smallest is served first.
type key struct {
	class    int8 // 0: below its guarantee, 1: the rest
	priority int
	share    float64 // class 0: of its guarantee; class 1: dominant share by weight
}

func (k key) less(o key) bool {
	switch {
	case k.class != o.class:
		return k.class < o.class
	case k.priority != o.priority:
		return k.priority > o.priority
	}
	return k.share < o.share
}

// tree is all partitions under a root that is the cluster.
type tree struct {
	root     *part
	parts    map[string]*part
	capacity api.Resources
}

func newTree(v *fsm.View, others ...Claimant) *tree {
	claimants := append([]Claimant{backlog{v}}, others...)
	t := &tree{root: &part{weight: 1, used: api.Resources{}}, parts: map[string]*part{}, capacity: v.Capacity()}
	for p := range v.Partitions() { // a parent's path sorts before its children's
		t.add(p)
	}
	for _, c := range t.parts {
		if len(c.children) > 0 {
			t.addOwn(c)
		}
	}
	for path, c := range t.parts {
		u := v.Usage(path)
		if c.own != nil {
			c = c.own
		}
		wants := 0
		for _, claims := range claimants {
			wants += claims.Wants(path)
		}
		for up := c; up != nil; up = up.parent {
			up.used, up.offered = up.used.Add(u.Charged()), up.offered.Add(u.Offered)
			up.wants += wants
			up.runs += u.Starting + u.Running
		}
	}
	return t
}

func (t *tree) add(p *api.Partition) {
	up := t.parts[p.Parent()]
	if up == nil {
		up = t.root
	}
	c := &part{p: p, path: p.Path, parent: up, depth: up.depth + 1, weight: p.Weight.Float(), priority: p.Priority, guarantee: p.Guaranteed(), limit: p.Limit,
		promised: !p.Guaranteed().IsZero(), limited: !p.Limit.IsZero()}
	up.children = append(up.children, c)
	t.parts[p.Path] = c
}

// addOwn gives the jobs that are submitted to a partition with children a
// place among them: weight one, and what of the guarantee is promised to none
// of them.
func (t *tree) addOwn(c *part) {
	own := &part{p: c.p, path: c.path, parent: c, depth: c.depth + 1, weight: 1, guarantee: c.guarantee}
	for _, k := range c.children {
		for name, v := range k.guarantee.Each {
			own.guarantee = own.guarantee.With(name, max(0, own.guarantee.Of(name)-v))
		}
	}
	own.promised = !own.guarantee.IsZero()
	c.children = append(c.children, own)
	c.own = own
}

// leaf is where the jobs of a partition are.
func (t *tree) leaf(path string) *part {
	c := t.parts[path]
	if c != nil && c.own != nil {
		return c.own
	}
	return c
}

// charge adds what was handed out, all the way up.
func (t *tree) charge(c *part, r api.Resources, sign int) {
	r.Ports = nil
	for ; c != nil; c = c.parent {
		if sign > 0 {
			c.used = c.used.Add(r)
		} else {
			c.used = c.used.Minus(r)
		}
		c.key = t.keyOf(c)
	}
}

func (t *tree) keyOf(c *part) key { return t.keyWith(c, c.used) }

// keyWith is the key of a part if it held so much.
func (t *tree) keyWith(c *part, used api.Resources) key {
	if c.promised {
		if met, share := metBy(c.guarantee, used); !met {
			return key{class: 0, priority: c.priority, share: share}
		}
	}
	return key{class: 1, share: fsm.Dominant(used, t.capacity) / c.weight}
}

// share is a part's dominant share by its weight.
func (t *tree) share(c *part) float64 { return fsm.Dominant(c.used, t.capacity) / c.weight }

// metBy reports whether used reaches a guarantee in some resource, and how far
// it is in the one that is furthest.
func metBy(g api.Amounts, used api.Resources) (met bool, share float64) {
	met = true
	for name, v := range g.Each {
		met = false
		share = max(share, float64(amountOf(used, name))/float64(v))
	}
	return met || share >= 1, share
}

func amountOf(r api.Resources, name string) int64 {
	switch name {
	case "cpus":
		return int64(r.CPUs)
	case "mem":
		return int64(r.Mem)
	case "disk":
		return int64(r.Disk)
	case "gpus":
		return r.GPUs
	}
	return r.Custom[name].Scalar
}

// within reports whether used and need together stay within every amount that is
// named; nothing named: anything does.
func within(most api.Amounts, used, need api.Resources) (name string, ok bool) {
	for name, v := range most.Each {
		if n := amountOf(need, name); n > 0 && amountOf(used, name)+n > v {
			return name, false
		}
	}
	return "", true
}
