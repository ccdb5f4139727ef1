package offer

import (
	"time"

	"github.com/mesita/mesita/api"
)

// maxLooks bounds how often a pass asks whether a framework takes something, so that
// nobody waits long for the Desk: the next pass continues with the other nodes.
const maxLooks = 50_000

// full is what a node has left and nobody takes before some time, as long as the node and
// the partitions are as they were.
type full struct {
	room     api.Resources
	until    time.Time // zero: as long as nothing else changes
	revision uint64
	parts    stamp
}

// stamp is another one once a partition changed.
type stamp struct {
	newest uint64
	count  int
}

// dropUnwanted leaves out what nobody takes now. To find that out each framework is asked;
// it is remembered until one of them says something of the node.
func (d *decision) dropUnwanted() {
	var parts stamp
	for p := range d.view.Partitions() {
		parts = stamp{max(parts.newest, p.Revision), parts.count + 1}
	}
	nobody, looks := d.cfg.Desk.nobody, 0
	wanted := make([]*room, 0, len(d.rooms))
	for i := range d.rooms {
		r := d.rooms[(i+d.turn)%len(d.rooms)]
		if d.asked[r] {
			wanted = append(wanted, r)
			continue
		}
		if f := nobody[r.node.ID]; f != nil {
			if f.revision == r.node.Revision && f.parts == parts && f.room.Equal(r.left) && (f.until.IsZero() || d.now.Before(f.until)) {
				d.later(f.until)
				continue
			}
			delete(nobody, r.node.ID)
		}
		if looks >= maxLooks {
			d.turn = (i + d.turn) % len(d.rooms)
			d.later(d.now)
			break
		}
		f := &full{room: r.left, revision: r.node.Revision, parts: parts}
		taken, limited := d.asks(r, f)
		looks += len(d.all)
		switch {
		case taken:
			wanted = append(wanted, r)
		case !limited:
			nobody[r.node.ID] = f
			d.later(f.until)
		}
	}
	d.rooms = wanted
	sortRooms(d.rooms)
}

// asks reports whether a framework takes a room, or whether limits alone are in the way of
// one; else it notes when that may be otherwise. What holds for all of a partition is
// looked at once.
func (d *decision) asks(r *room, f *full) (taken, limited bool) {
	for path, cs := range d.of {
		if !d.open(path, r.node) {
			continue
		}
		room, ok := within(d.round, path, r.left)
		if !ok {
			limited = true
			continue
		}
		for _, c := range cs {
			if !c.accepts(path, r.node) {
				continue
			}
			ok, again := c.takes(c.refused, spot{path, r.node.ID}, room, d.now)
			if ok {
				return true, limited
			}
			if !again.IsZero() && (f.until.IsZero() || again.Before(f.until)) {
				f.until = again
			}
		}
	}
	return false, limited
}
