package offer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// Round says which partition is served next: see allocator.Round.
type Round interface {
	Next() string
	Done(path string)
	Charge(path string, r api.Resources)
	Room(path string, need api.Resources) string
	Entitled(path string, need api.Resources) bool
}

// Begin begins a round in which each partition takes part for which wants is above 0.
type Begin func(v *fsm.View, wants func(path string) int) Round

// room is what one node has for offers.
type room struct {
	node   *api.Node
	left   api.Resources
	rested bool // everybody declined it before
}

// candidate is a framework in one partition.
type candidate struct {
	*taker
	partition string
	share     float64 // dominant, of what its tasks and offers hold
	wish      *wish   // that its partition may have, nil if there is none
	own       *room   // that was kept for it
}

// decision is one pass.
type decision struct {
	*Maker
	view  *fsm.View
	now   time.Time
	round Round
	rooms []*room
	of    map[string][]*candidate // by partition
	all   []*candidate
	out   []*api.Offer
	next  time.Time                 // when to look again without a change
	parts map[string]*api.Partition // with all conditions on their nodes
	nodes int                       // that take work
	kept  map[string]bool           // nodes of which nothing is offered, as somebody waits for more
	asked map[*room]bool            // which somebody waits for
	owned int                       // rooms that are candidates' own

	reserved map[spot][]api.Reserved // that is free, and not on offer yet
	bytes    int                     // of all offers, about
}

// decide is what is offered to whom, and when to look again without a change; the caller
// holds the Desk's lock.
func (m *Maker) decide(v *fsm.View, now time.Time, held map[string]api.Resources) ([]*api.Offer, time.Time) {
	d := &decision{Maker: m, view: v, now: now, of: map[string][]*candidate{}, parts: map[string]*api.Partition{}, kept: map[string]bool{}, asked: map[*room]bool{}, reserved: map[spot][]api.Reserved{}}
	if d.candidates(); len(d.all) == 0 {
		return nil, time.Time{}
	}
	d.lookAtRooms(held)
	if len(d.rooms)+len(d.reserved) == 0 {
		return nil, d.next
	}
	d.round = m.cfg.Begin(v, func(path string) int { return len(d.of[path]) })
	d.lookAtWishes()
	d.dropUnwanted()
	d.offerRested()
	for !d.full() && len(d.rooms)+d.owned > 0 {
		path := d.round.Next()
		if path == "" {
			break
		}
		if !d.offerIn(path) {
			d.round.Done(path)
		}
	}
	d.offerReserved()
	if d.full() {
		d.later(now)
	}
	return d.out, d.next
}

// full reports whether a pass makes no more offers: the rest is for the next one.
func (d *decision) full() bool { return len(d.out) >= maxOffers || d.bytes >= maxBytes }

// sizeOf is how much an offer is in the log entry, about.
func sizeOf(o *api.Offer) int {
	n := ofOffer + ofAmounts(o.Resources)
	for i := range o.Reserved {
		n += ofPart + ofAmounts(o.Reserved[i].Resources)
	}
	return n
}

// ofAmounts is how much numbers and names are there; other amounts are counted with what has them.
func ofAmounts(r api.Resources) int {
	n := ofRange * len(r.Ports)
	for name, q := range r.Custom {
		n += len(name) + ofRange*(1+len(q.Ranges))
		for _, word := range q.Set {
			n += len(word) + ofRange
		}
	}
	return n
}

func (d *decision) later(t time.Time) {
	if !t.IsZero() && (d.next.IsZero() || t.Before(d.next)) {
		d.next = t
	}
}

// lookAtRooms lists what nodes have left, the largest first. Where everybody declined
// what there is, it is offered again to one at a time, after pauses that grow.
func (d *decision) lookAtRooms(held map[string]api.Resources) {
	calms := d.cfg.Desk.calms
	for n := range d.view.Nodes() {
		if !n.Schedulable() {
			if n.State == api.NodeGone {
				delete(calms, n.ID)
				delete(d.cfg.Desk.nobody, n.ID)
			}
			continue
		}
		d.nodes++
		for path, parts := range d.view.FreeReserved(n.ID) {
			d.reserved[spot{path, n.ID}] = parts
		}
		left := d.view.Free(n.ID).Minus(held[n.ID])
		left.Pins = 0 // whole CPUs are asked for, not taken
		if left = offerable(left); !worthwhile(left) {
			continue
		}
		rested, rests := d.rests(n.ID, "", left, len(d.all))
		if rests {
			continue
		}
		d.rooms = append(d.rooms, &room{n, left, rested})
	}
	sortRooms(d.rooms)
}

// rests reports whether so many declined what a node has left, or reserved for a partition, so
// that it rests, and whether it does so still.
func (d *decision) rests(node, partition string, room api.Resources, all int) (rested, still bool) {
	c := d.cfg.Desk.calms[node][partition]
	switch {
	case c == nil:
		return false, false
	case !c.room.Equal(room):
		delete(d.cfg.Desk.calms[node], partition)
		return false, false
	case c.declines < all:
		return false, false
	}
	if c.counted != c.declines {
		c.counted, c.span = c.declines, min(max(2*c.span, shortRest), longRest)
		c.until = d.now.Truncate(c.span).Add(c.span) // those of many nodes are over together, and one entry
	}
	if still = d.now.Before(c.until); still {
		d.later(c.until)
	}
	return true, still
}

func sortRooms(rooms []*room) {
	slices.SortStableFunc(rooms, func(a, b *room) int {
		return cmp.Or(cmp.Compare(b.left.CPUs, a.left.CPUs), cmp.Compare(b.left.Mem, a.left.Mem))
	})
}

// offerable has nothing below zero.
func offerable(r api.Resources) api.Resources {
	r.CPUs, r.Mem, r.MemExtra, r.Disk, r.GPUs = max(r.CPUs, 0), max(r.Mem, 0), max(r.MemExtra, 0), max(r.Disk, 0), max(r.GPUs, 0)
	return r
}

// worthwhile reports whether something could run in it.
func worthwhile(r api.Resources) bool { return r.CPUs >= 10 && r.Mem >= 32<<20 }

// candidates finds the frameworks that take offers, by partition, who holds least first.
func (d *decision) candidates() {
	for _, t := range d.cfg.Desk.takers {
		f := d.view.Framework(t.id)
		if f == nil || !f.Connected || f.Session != t.session {
			continue
		}
		for _, p := range f.Partitions {
			if !t.suppressed[p] {
				c := &candidate{taker: t, partition: p}
				d.of[p], d.all = append(d.of[p], c), append(d.all, c)
			}
		}
	}
	for _, cs := range d.of {
		if len(cs) > 1 {
			d.shares(cs)
		}
		sortCandidates(cs)
	}
	slices.SortFunc(d.all, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(a.last, b.last), strings.Compare(a.id, b.id), strings.Compare(a.partition, b.partition))
	})
}

func sortCandidates(cs []*candidate) {
	slices.SortFunc(cs, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(a.share, b.share), cmp.Compare(a.last, b.last), strings.Compare(a.id, b.id))
	})
}

// shares finds out what each of a partition's frameworks holds there.
func (d *decision) shares(cs []*candidate) {
	capacity := d.view.Capacity()
	for _, c := range cs {
		u := d.view.FrameworkUsage(c.id, c.partition)
		c.share = fsm.Dominant(u.Allocated.Add(u.Offered), capacity)
	}
}

// offerRested offers what everybody declined again, to who was offered something longest
// ago: whose turn it is by shares would decline it for ever.
func (d *decision) offerRested() {
	var fresh, rested []*room
	for _, r := range d.rooms {
		if r.rested && !d.asked[r] {
			rested = append(rested, r)
		} else {
			fresh = append(fresh, r)
		}
	}
	d.rooms = fresh
	for _, r := range rested {
		for i, c := range d.all {
			if d.give(c, r) {
				d.all = append(slices.Delete(d.all, i, i+1), c)
				break
			}
		}
	}
}

// offerIn makes the next offer of a partition, if somebody there takes what is left. Who
// takes nothing of it takes nothing for the rest of the pass: what is left becomes less.
func (d *decision) offerIn(path string) bool {
	for len(d.of[path]) > 0 {
		c := d.of[path][0]
		if d.grant(c) {
			return true
		}
		for i, r := range d.rooms {
			if d.give(c, r) {
				d.rooms = slices.Delete(d.rooms, i, i+1)
				return true
			}
		}
		d.of[path] = d.of[path][1:]
	}
	return false
}

// give offers a room to a framework, if it takes it.
func (d *decision) give(c *candidate, r *room) bool {
	if !d.eligible(c, r.node) {
		return false
	}
	left, ok := within(d.round, c.partition, r.left)
	if !ok {
		return false
	}
	at := spot{c.partition, r.node.ID}
	ok, again := c.takes(c.refused, at, left, d.now)
	if !ok {
		d.later(again)
		return false
	}
	d.make(c, r, left)
	return true
}

// eligible reports whether a framework may have something of a node at all.
func (d *decision) eligible(c *candidate, n *api.Node) bool {
	return d.open(c.partition, n) && c.accepts(c.partition, n)
}

// open reports whether a partition may use a node.
func (d *decision) open(path string, n *api.Node) bool {
	part, known := d.parts[path]
	if !known {
		part = d.view.Eligible(path)
		d.parts[path] = part
	}
	return part != nil && !part.Drain && n.Unmet(part, &api.JobSpec{}) == ""
}

func (d *decision) make(c *candidate, r *room, left api.Resources) {
	at := spot{c.partition, r.node.ID}
	o := &api.Offer{ID: fmt.Sprintf("%s-O%d", d.prefix, d.made+1), Framework: c.id, Partition: c.partition, NodeID: r.node.ID,
		Resources: left, Reserved: d.reserved[at], Created: d.now, Expires: d.now.Add(d.cfg.Timeout)}
	delete(d.reserved, at)
	d.made++
	c.last, c.share = d.made, c.share+fsm.Dominant(o.Whole(), d.view.Capacity())
	d.round.Charge(c.partition, left)
	d.out, d.bytes = append(d.out, o), d.bytes+sizeOf(o)
	sortCandidates(d.of[c.partition])
}

// within is as much of a room as a partition may have by its limits, if that is worth
// being offered.
func within(round Round, path string, left api.Resources) (api.Resources, bool) {
	if round.Room(path, left) == "" {
		return left, true
	}
	// The most of it that limits allow, found by halves: how limits are looked at is the
	// round's alone.
	share := func(k int) api.Resources {
		part := left
		part.CPUs, part.Mem, part.MemExtra = left.CPUs*api.MilliCPU(k)/64, left.Mem*api.Bytes(k)/64, left.MemExtra*api.Bytes(k)/64
		part.Disk, part.GPUs = left.Disk*api.Bytes(k)/64, left.GPUs*int64(k)/64
		return part
	}
	lo, hi := 0, 64
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; round.Room(path, share(mid)) == "" {
			lo = mid
		} else {
			hi = mid
		}
	}
	part := share(lo)
	return part, worthwhile(part)
}
