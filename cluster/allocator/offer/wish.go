package offer

import (
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

// The bounds of what frameworks wait for.
const (
	maxWishes = 100              // of one framework
	keepFor   = 10 * time.Minute // that room is kept together for one
)

// wish is what a framework said that it waits for. It is answered by one offer.
type wish struct {
	api.OfferRequest
	until time.Time
	keeps string // the node of which what becomes free is kept for it, "" if there is none
}

// Request notes what a framework waits for, in place of what it said before: it is offered
// that first, and where no node has as much, what becomes free of one is kept for it.
func (d *Desk) Request(framework string, wants []api.OfferRequest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.takers[framework]
	if t == nil {
		return
	}
	t.wishes = nil
	for _, w := range wants[:min(len(wants), maxWishes)] {
		t.wishes = append(t.wishes, &wish{OfferRequest: w, until: d.now().Add(keepFor)})
	}
	d.awake()
}

// grant offers what frameworks wait for, one to each at a time, and keeps room together for
// those for which there is none yet: of half of the nodes at most.
func (d *decision) grant() {
	keeping := 0
	for _, c := range d.all {
		c.wishes = slices.DeleteFunc(c.wishes, func(w *wish) bool { return !d.now.Before(w.until) })
		i := slices.IndexFunc(c.wishes, func(w *wish) bool { return w.Partition == c.partition })
		if i < 0 || len(d.out) >= maxOffers {
			continue
		}
		w := c.wishes[i]
		if d.round.Room(c.partition, w.Need) != "" {
			continue // its partition may not have it
		}
		if r := d.smallest(c, w); r >= 0 {
			if left, ok := within(d.round, c.partition, d.rooms[r].left); ok && left.Fits(w.Need) {
				d.make(c, d.rooms[r], left)
				d.rooms = slices.Delete(d.rooms, r, r+1)
				c.wishes = slices.Delete(c.wishes, i, i+1)
				continue
			}
		}
		if keeping++; 2*keeping > d.nodes {
			continue
		}
		d.keep(c, w)
	}
}

// smallest is which of the rooms has what is waited for and the least beside, -1 if none has.
func (d *decision) smallest(c *candidate, w *wish) int {
	for i, r := range slices.Backward(d.rooms) { // the largest is first
		if r.left.Fits(w.Need) && (w.NodeID == "" || w.NodeID == r.node.ID) && d.eligible(c, r.node) {
			return i
		}
	}
	return -1
}

// keep has what is left of one node not be offered to others: of the one that it is kept
// of already, or else that lacks least.
func (d *decision) keep(c *candidate, w *wish) {
	could := func(n *api.Node) bool {
		return n.Schedulable() && n.Resources.Fits(w.Need) && (w.NodeID == "" || w.NodeID == n.ID) && d.eligible(c, n)
	}
	if n := d.view.Node(w.keeps); n == nil || !could(n) {
		w.keeps = ""
		most := -1.0
		for n := range d.view.Nodes() {
			if !could(n) || d.kept[n.ID] {
				continue
			}
			if has := part(d.view.Free(n.ID), w.Need); has > most {
				most, w.keeps = has, n.ID
			}
		}
	}
	if w.keeps == "" {
		return
	}
	d.kept[w.keeps] = true
	d.rooms = slices.DeleteFunc(d.rooms, func(r *room) bool { return r.node.ID == w.keeps })
	d.later(w.until)
}

// part is how much of what is needed there is, of what there is least of: at most 1.
func part(free, need api.Resources) float64 {
	share := 1.0
	for _, r := range [][2]int64{{int64(free.CPUs), int64(need.CPUs)}, {int64(free.Mem), int64(need.Mem)}, {int64(free.Disk), int64(need.Disk)}, {free.GPUs, need.GPUs}} {
		if r[1] > 0 {
			share = min(share, float64(r[0])/float64(r[1]))
		}
	}
	return share
}
