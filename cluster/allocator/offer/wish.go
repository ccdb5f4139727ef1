package offer

import (
	"maps"
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

// Request notes what a framework waits for, in place of what it said before: when its turn
// comes it is offered that, and where no node has as much, what becomes free of one is kept for it.
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

// lookAtWishes has rooms stay that frameworks wait for, and keeps room together for those for
// which there is none yet: of half of the nodes at most, and only for whose turn it is or whom
// a guarantee covers, as it would have come to them.
func (d *decision) lookAtWishes() {
	keeping, next := 0, d.round.Next()
	for _, path := range slices.Sorted(maps.Keys(d.of)) {
		for _, c := range d.of[path] {
			w := c.wishIn(path, d.now)
			if w == nil || d.round.Room(path, w.Need) != "" {
				continue // its partition may not have it
			}
			c.wish = w
			due := path == next || d.round.Entitled(path, w.Need)
			if due && d.takeKept(c, w) {
				continue
			}
			if r := d.smallest(c, w, d.asked); r >= 0 {
				d.asked[d.rooms[r]] = true
			} else if due && 2*(keeping+1) <= d.nodes && d.keep(c, w) {
				keeping++
			}
		}
	}
}

// wishIn is the first of what a framework waits for in a partition, nil if that is nothing.
func (t *taker) wishIn(partition string, now time.Time) *wish {
	t.wishes = slices.DeleteFunc(t.wishes, func(w *wish) bool { return !now.Before(w.until) })
	if i := slices.IndexFunc(t.wishes, func(w *wish) bool { return w.Partition == partition }); i >= 0 {
		return t.wishes[i]
	}
	return nil
}

// takeKept sets aside for a framework what was kept for it, if that is enough by now.
func (d *decision) takeKept(c *candidate, w *wish) bool {
	i := slices.IndexFunc(d.rooms, func(r *room) bool { return r.node.ID == w.keeps && !d.asked[r] })
	if i < 0 || !d.could(c, w, d.rooms[i].node) || !d.rooms[i].left.Fits(w.Need) {
		return false
	}
	c.own, d.kept[w.keeps] = d.rooms[i], true
	d.rooms = slices.Delete(d.rooms, i, i+1)
	d.owned++
	return true
}

// grant offers a framework whose turn it is what it waits for, if there is such.
func (d *decision) grant(c *candidate) bool {
	if c.wish == nil {
		return false
	}
	w, r := c.wish, c.own
	c.wish = nil // one at a time
	if i := d.smallest(c, w, nil); r != nil {
		c.own = nil
		d.owned--
	} else if i >= 0 {
		r = d.rooms[i]
	} else {
		return false
	}
	left, ok := within(d.round, c.partition, r.left)
	if !ok || !left.Fits(w.Need) {
		return false
	}
	d.make(c, r, left)
	d.rooms = slices.DeleteFunc(d.rooms, func(o *room) bool { return o == r })
	c.wishes = slices.DeleteFunc(c.wishes, func(o *wish) bool { return o == w })
	return true
}

// smallest is which of the rooms has what is waited for and the least beside, -1 if none
// but those has.
func (d *decision) smallest(c *candidate, w *wish, but map[*room]bool) int {
	for i, r := range slices.Backward(d.rooms) { // the largest is first
		if r.left.Fits(w.Need) && !but[r] && d.could(c, w, r.node) {
			return i
		}
	}
	return -1
}

// could reports whether what is waited for could be on a node.
func (d *decision) could(c *candidate, w *wish, n *api.Node) bool {
	return n.Schedulable() && d.view.Unreserved(n).Fits(w.Need) && (w.NodeID == "" || w.NodeID == n.ID) && d.eligible(c, n)
}

// keep has what is left of one node not be offered to others: of the one that it is kept
// of already, or else that lacks least. It is false if there is none.
func (d *decision) keep(c *candidate, w *wish) bool {
	if n := d.view.Node(w.keeps); n == nil || d.kept[n.ID] || !d.could(c, w, n) {
		w.keeps = ""
		most := -1.0
		for n := range d.view.Nodes() {
			if d.kept[n.ID] || !d.could(c, w, n) {
				continue
			}
			if has := part(d.view.Free(n.ID), w.Need); has > most {
				most, w.keeps = has, n.ID
			}
		}
	}
	if w.keeps == "" {
		return false
	}
	d.kept[w.keeps] = true
	d.rooms = slices.DeleteFunc(d.rooms, func(r *room) bool { return r.node.ID == w.keeps })
	d.later(w.until)
	return true
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
