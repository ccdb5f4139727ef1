package fsm

import (
	"cmp"
	"iter"
	"slices"

	"github.com/mesita/mesita/api"
)

var offerNoun = noun[api.Offer]{
	less:     func(a, b *api.Offer) bool { return a.ID < b.ID },
	watch:    TableOffers,
	id:       func(o *api.Offer) string { return o.ID },
	revision: func(o *api.Offer) *uint64 { return &o.Revision },
	follow:   (*tx).holdOffer,
	forms:    []form[api.Offer]{{record: recOffer}},
}

// OfferMake sets resources aside, which count to the partition as if a task held
// them. An offer that no longer fits its node or its partition's limits is left out.
// Its value is how many were made.
type OfferMake struct {
	Meta
	Offers []*api.Offer `json:"offers"`
	// Sessions are those of the frameworks for which it was decided. What one wanted is not
	// what it says that it wants as it connects anew.
	Sessions map[string]string `json:"sessions,omitempty"`
}

func (c *OfferMake) apply(x *tx) (any, error) {
	n := 0
	for _, o := range c.Offers {
		row := x.rowAt(o.NodeID)
		if row == nil || !row.node.Schedulable() || !onlyReserved(o) && !row.room().Fits(o.Resources) || x.offers.get(o) != nil || x.does(OfferLoans) && !x.mayHold(o.Partition, o.Resources) {
			continue
		}
		if f := x.frameworkAt(o.Framework); x.does(Frameworks) && o.Framework != "" && (f == nil || !f.Connected || !f.In(o.Partition)) {
			continue
		} else if s, ok := c.Sessions[o.Framework]; ok && (f == nil || f.Session != s) {
			continue
		}
		if len(o.Reserved) > 0 && !x.leavesReserved(o) {
			continue
		}
		x.offers.put(x, o)
		x.happened(api.Event{Kind: api.EventOfferMade, Object: o.ID, Node: row.node.Name, Message: o.Whole().String()})
		n++
	}
	return n, nil
}

// onlyReserved reports whether an offer has nothing but what is reserved, which is charged.
func onlyReserved(o *api.Offer) bool {
	return len(o.Reserved) > 0 && o.Resources.Equal(api.Resources{})
}

// OfferRemove gives offered resources back. Its value is how many offers.
type OfferRemove struct {
	Meta
	IDs    []string `json:"ids"`
	Reason string   `json:"reason,omitempty"`
}

func (c *OfferRemove) apply(x *tx) (any, error) {
	n := 0
	for _, id := range c.IDs {
		if o := x.offers.get(&api.Offer{ID: id}); o != nil {
			x.endOffer(o, cmp.Or(c.Reason, "given back"))
			n++
		}
	}
	return n, nil
}

func (x *tx) endOffer(o *api.Offer, why string) {
	x.offers.delete(x, o)
	x.happened(api.Event{Kind: api.EventOfferGone, Object: o.ID, Message: why})
}

// holdOffer keeps the sums of an offer's node and partition in step. That of the
// partition is the same at every level, as a snapshot may be of before it counted.
func (x *tx) holdOffer(old, o *api.Offer) {
	hold := func(o *api.Offer, op func(api.Resources, api.Resources) api.Resources) {
		if o == nil {
			return
		}
		x.changeUsage(o.Partition, func(u *api.PartitionUsage) { u.Offered = op(u.Offered, charged(o.Resources)) })
		if o.Framework != "" {
			x.useOfFramework(o.Framework, o.Partition, func(u *api.PartitionUsage) { u.Offered = op(u.Offered, charged(o.Whole())) })
		}
		x.offerReserved(o.NodeID, o.Reserved, op)
		if row := x.ownRow(o.NodeID); row != nil {
			row.offered = op(row.offered, o.Resources)
			x.touch(TableRooms, o.NodeID)
		}
	}
	hold(old, api.Resources.Minus)
	hold(o, api.Resources.Add)
}

// mayHold reports whether a partition is there, and may hold so much more by its
// limit and those above it.
func (x *tx) mayHold(path string, more api.Resources) bool {
	return x.belowLimits(path, more, nil) && x.partitions.get(&api.Partition{Path: path}) != nil
}

// belowLimits is it of limits alone, once those offers are gone. A limit of what is not
// asked for is not in the way, as it is not where it is decided.
func (x *tx) belowLimits(path string, more api.Resources, gone []*api.Offer) bool {
	for _, p := range x.chain(path) {
		if !p.Limit.IsZero() && over(p.Limit, x.chargedWithout(p.Path, gone), charged(more)) != "" {
			return false
		}
	}
	return true
}

// chargedWithout is what a partition holds, with all below it, once those offers are gone.
func (x *tx) chargedWithout(path string, gone []*api.Offer) api.Resources {
	held := x.chargedIn(path)
	for _, o := range gone {
		if api.PathWithin(o.Partition, path) {
			held = held.Minus(charged(o.Resources))
		}
	}
	return held
}

// leavesOffers reports whether limits allow a task beside the offers that its placement
// leaves. What was decided with it may have ended one of them and is refused, and one may
// have been made since; without any only the scheduler fills a partition, and has asked.
func (x *tx) leavesOffers(path string, need api.Resources, loans []*api.Offer) bool {
	return !x.does(OfferLoans) || x.offers.len() == len(loans) || x.belowLimits(path, need, loans)
}

// chargedIn is what a partition holds, with all below it.
func (t *tables) chargedIn(path string) (sum api.Resources) {
	for r := range t.usageIn(path) {
		sum = sum.Add(r.Charged())
	}
	return sum
}

// loans adds the offers that a placement takes back, as far as they stand, to those of
// others; each is there once, however often it is named.
func (x *tx) loans(p *Placement, out []*api.Offer) []*api.Offer {
	if !x.does(OfferLoans) {
		return nil
	}
	for _, id := range p.Rescind {
		if o := x.offers.get(&api.Offer{ID: id}); o != nil && !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	return out
}

// roomWithout is what a node has left once those offers are gone.
func (r *nodeRow) roomWithout(offers []*api.Offer) api.Resources {
	without := *r
	for _, o := range offers {
		if o.NodeID == r.node.ID {
			without.offered = without.offered.Minus(o.Resources)
		}
	}
	return without.room()
}

// endOffersIn takes back what is on offer in a partition.
func (x *tx) endOffersIn(path, why string) {
	if !x.does(OfferLoans) {
		return
	}
	for _, o := range x.offersWhere(func(o *api.Offer) bool { return o.Partition == path }) {
		x.endOffer(o, "partition "+path+why)
	}
}

func (x *tx) offersWhere(is func(*api.Offer) bool) []*api.Offer {
	var out []*api.Offer
	for o := range x.offers.all() {
		if is(o) {
			out = append(out, o)
		}
	}
	return out
}

// Offers lists all offers by id.
func (v *View) Offers() iter.Seq[*api.Offer] { return v.t.offers.all() }

// Offer is nil if there is none with that id.
func (v *View) Offer(id string) *api.Offer { return v.t.offers.get(&api.Offer{ID: id}) }
