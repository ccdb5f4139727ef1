package fsm

import (
	"cmp"
	"iter"
	"strings"

	"github.com/mesita/mesita/api"
)

// This file has what is reserved, and how much of that tasks and offers have; how it
// changes is in convert.go.

// reservationRow is a reservation with what is taken of it.
type reservationRow struct {
	res     *api.Reservation
	used    api.Resources
	offered api.Resources
	edition uint64 // of the tables, when it was made
}

var reservationNoun = noun[reservationRow]{
	less: func(a, b *reservationRow) bool {
		return cmp.Or(strings.Compare(a.res.NodeID, b.res.NodeID), strings.Compare(a.res.ID, b.res.ID)) < 0
	},
	watch:    TableReservations,
	id:       func(r *reservationRow) string { return r.res.NodeID },
	revision: func(r *reservationRow) *uint64 { return &r.res.Revision },
	follow:   (*tx).holdReservation,
	forms: []form[reservationRow]{{record: recReservation, out: func(r *reservationRow) any { return r.res }, in: func(body []byte) (*reservationRow, error) {
		r, err := decoded[api.Reservation](body)
		return &reservationRow{res: r}, err
	}}},
}

// holdReservation keeps the sums of its node and partition in step: it is charged to both
// as a task would be.
func (x *tx) holdReservation(old, row *reservationRow) {
	hold := func(r *reservationRow, op func(a, b api.Resources) api.Resources, n int) {
		if r == nil {
			return
		}
		x.changeUsage(r.res.Partition, func(u *api.PartitionUsage) {
			is := charged(r.res.Resources)
			u.Allocated, u.Reserved, u.Reservations = op(u.Allocated, is), op(u.Reserved, is), u.Reservations+n
		})
		if n := x.ownRow(r.res.NodeID); n != nil {
			n.allocated = op(n.allocated, r.res.Resources)
			x.touch(TableRooms, r.res.NodeID)
		}
	}
	hold(old, api.Resources.Minus, -1)
	hold(row, api.Resources.Add, 1)
}

func (t *tables) reservation(nodeID, id string) *reservationRow {
	return t.reserved.get(&reservationRow{res: &api.Reservation{NodeID: nodeID, ID: id}})
}

// ownReservation is a row that may be changed in place, nil if there is none.
func (x *tx) ownReservation(nodeID, id string) *reservationRow {
	old := x.reservation(nodeID, id)
	if old == nil || old.edition == x.edition {
		return old
	}
	row := *old
	row.edition = x.edition
	x.reserved.replace(&row)
	return &row
}

// useReserved keeps in step what a task has of reservations. Frozen, it has all of it still,
// and runs on none of the CPUs.
func (x *tx) useReserved(t *api.Task, op func(a, b api.Resources) api.Resources) {
	parts := t.Framework.Reserved
	for i := range parts {
		row := x.ownReservation(t.NodeID, parts[i].Reservation)
		if row == nil {
			continue
		}
		row.used = op(row.used, parts[i].Resources)
		if !t.Frozen {
			u := x.ownUsage(row.res.Partition)
			u.taken = op(api.Resources{CPUs: u.taken}, api.Resources{CPUs: parts[i].Resources.CPUs}).CPUs
		}
		x.touch(TableReservations, t.NodeID)
	}
}

// offerReserved keeps in step what offers have of them.
func (x *tx) offerReserved(nodeID string, parts []api.Reserved, op func(a, b api.Resources) api.Resources) {
	for i := range parts {
		if row := x.ownReservation(nodeID, parts[i].Reservation); row != nil {
			row.offered = op(row.offered, parts[i].Resources)
			x.touch(TableReservations, nodeID)
		}
	}
}

// free is what of a reservation neither a task nor an offer has.
func (r *reservationRow) free() api.Resources { return r.res.Resources.Minus(r.used).Minus(r.offered) }

// leavesReserved reports whether what an offer has of reservations is its partition's, and
// free.
func (x *tx) leavesReserved(o *api.Offer) bool {
	seen := map[string]bool{}
	for i := range o.Reserved {
		p := &o.Reserved[i]
		row := x.reservation(o.NodeID, p.Reservation)
		if row == nil || row.res.Partition != o.Partition || seen[p.Reservation] || !row.free().Fits(p.Resources) {
			return false
		}
		seen[p.Reservation] = true
	}
	return true
}

// reservedIn counts what a partition has reserved.
func (t *tables) reservedIn(partition string) int {
	if r := get(t.usage.BTreeG, &usageRow{path: partition}); r != nil {
		return r.Reservations
	}
	return 0
}

// onNode lists what is reserved on a node.
func (t *tables) onNode(nodeID string) iter.Seq[*reservationRow] {
	return func(yield func(*reservationRow) bool) {
		for r := range t.reserved.from(&reservationRow{res: &api.Reservation{NodeID: nodeID}}) {
			if r.res.NodeID != nodeID || !yield(r) {
				return
			}
		}
	}
}

// dropReservations has what a node that is gone had be gone, too.
func (x *tx) dropReservations(n *api.Node) {
	var rows []*reservationRow
	for r := range x.onNode(n.ID) {
		rows = append(rows, r)
	}
	for _, r := range rows {
		x.reserved.delete(x, r)
		x.tellReservation(n, r.res, r.res.Resources, api.Resources{}, "the node is gone")
	}
}

// tellReservation tells of what became of a reservation.
func (x *tx) tellReservation(n *api.Node, r *api.Reservation, was, is api.Resources, why string) {
	e := api.Event{Kind: api.EventReservation, Object: r.ID, Node: n.Name, Message: "partition " + r.Partition + ": "}
	if r.Volume != nil {
		e.Message += "volume " + r.Volume.ID + ", "
	}
	switch wasNone, isNone := was.Equal(api.Resources{}), is.Equal(api.Resources{}); {
	case wasNone:
		e.Message += is.String()
	case isNone:
		e.Message += was.String() + " given back"
	default:
		e.Message += was.String() + " to " + is.String()
	}
	if why != "" {
		e.Message += ": " + why
	}
	x.happened(e)
}

// status is a row as readers see it.
func (r *reservationRow) status(n *api.Node) api.ReservationStatus {
	s := api.ReservationStatus{Reservation: r.res, Used: r.used, Offered: r.offered}
	if n != nil {
		s.Node = n.Name
	}
	return s
}

// Reservations lists what is reserved on a node, by id.
func (v *View) Reservations(nodeID string) iter.Seq[api.ReservationStatus] {
	return func(yield func(api.ReservationStatus) bool) {
		n := v.Node(nodeID)
		for r := range v.t.onNode(nodeID) {
			if !yield(r.status(n)) {
				return
			}
		}
	}
}

// Reservation is one of a node, nil if there is none with that id.
func (v *View) Reservation(nodeID, id string) *api.Reservation {
	if r := v.t.reservation(nodeID, id); r != nil {
		return r.res
	}
	return nil
}

// Unreserved is what of a node nobody has reserved, whoever has it now.
func (v *View) Unreserved(n *api.Node) api.Resources {
	r := n.Resources
	if v.t.reserved.len() == 0 {
		return r
	}
	for row := range v.t.onNode(n.ID) {
		r = r.Minus(row.res.Resources)
	}
	return r
}

// ReservationCount is how many there are of all nodes.
func (v *View) ReservationCount() int { return v.t.reserved.len() }

// FreeReserved is what of reservations on a node is neither used nor on offer, by partition.
func (v *View) FreeReserved(nodeID string) (out map[string][]api.Reserved) {
	for r := range v.t.onNode(nodeID) {
		if left := r.free(); !left.Equal(api.Resources{}) {
			if out == nil {
				out = map[string][]api.Reserved{}
			}
			out[r.res.Partition] = append(out[r.res.Partition], api.Reserved{Reservation: r.res.ID, Resources: left})
		}
	}
	return out
}
