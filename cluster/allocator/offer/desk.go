package offer

import (
	"slices"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
)

// The bounds of what is remembered of a framework.
const (
	maxRefusals = 100_000                // nodes and partitions, of one framework
	maxRefusal  = 365 * 24 * time.Hour   // how long one counts
	firstPause  = time.Second            // until what was declined without a time is offered again
	longPause   = 10 * time.Minute       // the longest that is added to what was asked for
	pauseAfter  = 3                      // so many times as was asked for, before it grows
	least       = 250 * time.Millisecond // one that counts for less does not count
)

// Desk is what frameworks said since they connected. It is safe for concurrent use.
type Desk struct {
	now func() time.Time

	mu     sync.Mutex
	takers map[string]*taker
	calms  map[string]*calm // by node
	nobody map[string]*full // by node: what nobody takes
	wake   chan struct{}    // closed when somebody may take more
}

// calm is what a node has left, and that nobody wants.
type calm struct {
	room     api.Resources
	declines int // of that, one after the other
	counted  int // of those, when it began to rest
	span     time.Duration
	until    time.Time
}

// taker is a framework that is connected to this leader.
type taker struct {
	id, session string
	accepts     func(partition string, n *api.Node) bool
	wishes      []*wish
	suppressed  map[string]bool // partitions
	refused     map[spot]*refusal
	last        uint64 // when it was offered something: the others' number then
}

// spot is where something is offered.
type spot struct{ partition, node string }

// refusal is what was declined at a spot. It keeps away what is no more than that.
type refusal struct {
	room     api.Resources
	reserved api.Resources // of the partition, beside it
	until    time.Time
	times    int // that it was, with no more room than before
}

// NewDesk makes a Desk.
func NewDesk(now func() time.Time) *Desk {
	return &Desk{now: now, takers: map[string]*taker{}, calms: map[string]*calm{}, nobody: map[string]*full{}, wake: make(chan struct{})}
}

// Connect begins a session, in which nothing is declined yet; accepts says which nodes may
// be offered at all.
func (d *Desk) Connect(framework, session string, suppressed []string, accepts func(partition string, n *api.Node) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &taker{id: framework, session: session, accepts: accepts, suppressed: map[string]bool{}, refused: map[spot]*refusal{}}
	for _, p := range suppressed {
		t.suppressed[p] = true
	}
	d.takers[framework] = t
	clear(d.calms) // it has seen none of it
	clear(d.nobody)
	d.awake()
}

// Leave ends a session, if it is the current one.
func (d *Desk) Leave(framework, session string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.takers[framework]; t != nil && t.session == session {
		delete(d.takers, framework)
	}
}

// Refuse notes that a framework is not to be offered what a node has left for so long, nor
// what is reserved there beside: what is more than that is offered all the same. With declined it wanted nothing of an offer;
// that again counts for longer each time.
func (d *Desk) Refuse(framework, partition, nodeID string, room, reserved api.Resources, span time.Duration, declined bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.takers[framework]
	if t == nil {
		return
	}
	delete(d.nobody, nodeID)
	switch c := d.calms[nodeID]; {
	case !declined, room.Equal(api.Resources{}):
	case c != nil && c.room.Equal(room):
		c.declines++
	default:
		d.calms[nodeID] = &calm{room: room, declines: 1}
	}
	at := spot{partition, nodeID}
	r := &refusal{room: room, reserved: reserved}
	if old := t.refused[at]; old != nil && declined && old.covers(room, reserved) {
		r.times = old.times + 1
	} else if old == nil && len(t.refused) >= maxRefusals {
		return
	}
	span = min(max(span, 0), maxRefusal)
	if span < least {
		delete(t.refused, at)
		d.awake()
		return
	}
	if r.times >= pauseAfter {
		span = max(span, min(longPause, max(span, firstPause)<<min(r.times-pauseAfter+1, 20)))
	}
	r.until = d.now().Add(span)
	t.refused[at] = r
	d.awake()
}

// Revive forgets what a framework declined and that it wanted no more, in those partitions
// (none: in all).
func (d *Desk) Revive(framework string, partitions []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.takers[framework]
	if t == nil {
		return
	}
	in := func(p string) bool { return len(partitions) == 0 || slices.Contains(partitions, p) }
	for p := range t.suppressed {
		if in(p) {
			delete(t.suppressed, p)
		}
	}
	for at := range t.refused {
		if in(at.partition) {
			delete(t.refused, at)
		}
	}
	clear(d.calms)
	clear(d.nobody)
	d.awake()
}

// Suppress notes that a framework wants no more offers in those partitions (none: in
// all of which it is given the list). What it has stays.
func (d *Desk) Suppress(framework string, partitions []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.takers[framework]; t != nil {
		for _, p := range partitions {
			t.suppressed[p] = true
		}
	}
}

// awake tells the maker that somebody may take more.
func (d *Desk) awake() {
	close(d.wake)
	d.wake = make(chan struct{})
}

func (d *Desk) woken() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wake
}

// takes reports whether a taker may be offered that much at a spot; else when it may
// again, if it is a matter of time.
func (t *taker) takes(at spot, room, reserved api.Resources, now time.Time) (ok bool, again time.Time) {
	r := t.refused[at]
	switch {
	case t.suppressed[at.partition]:
		return false, time.Time{}
	case r == nil || !r.covers(room, reserved) || !now.Before(r.until):
		return true, time.Time{}
	}
	return false, r.until
}

// covers reports whether that is no more than what was refused.
func (r *refusal) covers(room, reserved api.Resources) bool {
	return r.room.Fits(room) && r.reserved.Fits(reserved)
}
