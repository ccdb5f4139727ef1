package mesos

import (
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// The bounds of OFFERS. All of what many nodes have reserved, with its labels, may be more
// than is held for a framework, which is told as much as it reads.
const (
	maxOffersTold = 1000
	maxOfferBytes = 1 << 20 // of one event, but for one offer more
	maxOffersHeld = 4 << 20 // bytes that are queued, beyond which no offer is
	ofPlainOffer  = 2 << 10 // bytes, about, of one with nothing reserved
)

// tellOffers tells a session of offers that it was not told of, as much as its stream takes;
// the rest once that is on its way. The caller holds the lock.
func (h *hub) tellOffers(v *fsm.View, s *session) {
	if h.sessions[s.framework] != s || !s.begun {
		return
	}
	for len(s.untold) > 0 {
		if _, bytes := s.Waiting(); bytes >= maxOffersHeld {
			s.behind.Store(true)
			return
		}
		var out []*v1.Offer
		for bytes := 0; len(s.untold) > 0 && len(out) < maxOffersTold && bytes < maxOfferBytes; s.untold = s.untold[1:] {
			m := h.untoldOffer(v, s, s.untold[0])
			if m != nil {
				out, bytes = append(out, m), bytes+bytesOf(s, m)
			}
		}
		if len(out) > 0 {
			s.push(offersEvent(out))
		}
	}
	s.untold = nil
}

// untoldOffer is an offer as its framework is told of it, nil if it need not be: it is gone, or
// was answered, as an earlier leader told of it.
func (h *hub) untoldOffer(v *fsm.View, s *session, id string) *v1.Offer {
	told := h.told[id]
	if told.to != s || !told.waits {
		return nil
	}
	h.told[id] = telling{to: s}
	o := v.Offer(id)
	if o == nil {
		delete(h.told, id)
		return nil
	}
	n := v.Node(o.NodeID)
	if n == nil {
		return nil
	}
	m := offerOf(v, o, n, s.caps())
	m.ExecutorIDs = executorIDs(v, o.Framework, o.NodeID)
	return m
}

// bytesOf is how much an offer is in an event, about.
func bytesOf(s *session, m *v1.Offer) int {
	if len(m.ExecutorIDs) == 0 && !reservesSome(m) {
		return ofPlainOffer
	}
	b, err := wire.Marshal(s.format, m)
	if err != nil {
		return maxOfferBytes // of an event of its own
	}
	return len(b)
}

func reservesSome(m *v1.Offer) bool {
	for _, r := range m.Resources {
		if r.Reservation != nil || len(r.Reservations) > 0 {
			return true
		}
	}
	return false
}
