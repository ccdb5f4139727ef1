package offer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/fsm"
)

// The bounds of a pass.
const (
	maxOffers        = 2000    // of one command
	maxBytes         = 1 << 20 // of one command, but for one offer more
	ofOffer          = 400     // bytes of one with nothing reserved, about
	ofPart           = 300     // of each part of a reservation
	ofRange          = 32      // of each range of numbers and each name
	maxReservedLooks = 20_000  // at who takes what is reserved
	settle           = 2 * time.Millisecond
	maxSettle        = 100 * time.Millisecond // that a pass waits for the scheduler's
	shortRest        = time.Second            // of a node that nobody wants, which nothing happens to
	longRest         = time.Minute
)

// DefaultTimeout is how long an offer stands that nobody answers.
const DefaultTimeout = time.Minute

// Left is what the scheduler leaves: as of which index it has looked at all that waits,
// and what it holds of nodes for what will start there.
type Left func() (index uint64, held map[string]api.Resources)

// Config is what a Maker needs.
type Config struct {
	Store   *fsm.Store
	Desk    *Desk
	Begin   Begin
	Left    Left
	Now     func() time.Time
	Timeout time.Duration // 0: DefaultTimeout
	Log     *slog.Logger
}

// Maker is the loop that makes offers.
type Maker struct {
	cfg    Config
	prefix string // of ids of offers: no two makers have the same
	made   uint64
	waits  time.Time // since when the scheduler is waited for
	from   string    // the spot at which the next pass looks first of what is reserved
	turn   int       // which room the next pass looks at first
}

// New makes a Maker.
func New(cfg Config) *Maker {
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails
	return &Maker{cfg: cfg, prefix: hex.EncodeToString(b[:])}
}

// Run makes offers until ctx ends.
func (m *Maker) Run(ctx context.Context) error {
	l := &loop.Loop{Store: m.cfg.Store, Now: m.cfg.Now, Wake: m.cfg.Desk.woken, Pass: m.pass,
		Tables: []fsm.Table{fsm.TableRooms, fsm.TableNodes, fsm.TablePartitions, fsm.TableOffers, fsm.TableFrameworks}}
	return l.Run(ctx)
}

func (m *Maker) pass(ctx context.Context, _ loop.Changes) time.Time {
	now := m.cfg.Now()
	v, offers, next := m.look(now)
	if len(offers) == 0 {
		return next
	}
	sessions := map[string]string{}
	for _, o := range offers {
		sessions[o.Framework] = v.Framework(o.Framework).Session
	}
	_, err := m.cfg.Store.Propose(ctx, &fsm.OfferMake{Meta: fsm.Meta{At: now, Actor: "allocator"}, Offers: offers, Sessions: sessions})
	if err != nil {
		if ctx.Err() == nil {
			m.cfg.Log.Warn("making offers failed; trying again", "err", fmt.Errorf("propose offers: %w", err))
		}
		return now.Add(100 * time.Millisecond)
	}
	return next
}

// look is what is offered to whom, as of which view, and when to look again without a change.
func (m *Maker) look(now time.Time) (v *fsm.View, offers []*api.Offer, next time.Time) {
	index, held := m.cfg.Left()
	m.cfg.Desk.mu.Lock()
	defer m.cfg.Desk.mu.Unlock()
	// Not before: a framework that connects is in the state first. In an older view who spoke
	// to the Desk just now is not there, and what is remembered of nobody's taking is wrong.
	v = m.cfg.Store.View()
	if !v.Does(fsm.Frameworks) || v.FrameworkCount() == 0 {
		return v, nil, time.Time{}
	}
	if v.PendingCount() > 0 && index < v.Index() {
		if m.waits.IsZero() {
			m.waits = now
		}
		if now.Sub(m.waits) < maxSettle {
			return v, nil, now.Add(settle)
		}
	}
	m.waits = time.Time{}
	offers, next = m.decide(v, now, held)
	return v, offers, next
}
