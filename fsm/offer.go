package fsm

import (
	"cmp"
	"iter"

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

// OfferMake sets resources aside. An offer that no longer fits is left out.
// Its value is how many were made.
type OfferMake struct {
	Meta
	Offers []*api.Offer `json:"offers"`
}

func (c *OfferMake) apply(x *tx) (any, error) {
	n := 0
	for _, o := range c.Offers {
		row := x.rowAt(o.NodeID)
		if row == nil || !row.node.Schedulable() || !row.room().Fits(o.Resources) || x.offers.get(o) != nil {
			continue
		}
		x.offers.put(x, o)
		x.happened(api.Event{Kind: api.EventOfferMade, Object: o.ID, Node: row.node.Name, Message: o.Resources.String()})
		n++
	}
	return n, nil
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
			x.offers.delete(x, o)
			x.happened(api.Event{Kind: api.EventOfferGone, Object: id, Message: cmp.Or(c.Reason, "given back")})
			n++
		}
	}
	return n, nil
}

func (x *tx) offersOf(nodeID string) []*api.Offer {
	var out []*api.Offer
	for o := range x.offers.all() {
		if o.NodeID == nodeID {
			out = append(out, o)
		}
	}
	return out
}

// Offers lists all offers by id.
func (v *View) Offers() iter.Seq[*api.Offer] { return v.t.offers.all() }
