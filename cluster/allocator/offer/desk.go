package offer

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
)

// The bounds of what is remembered of a framework.
const (
	maxRefusals = 100_000                // nodes and partitions, of one framework
	maxAtSpot   = 4                      // refusals of one node in one partition
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
	calms  map[string]calms // by node
	nobody map[string]*full // by node: what nobody takes
	wake   chan struct{}    // closed when somebody may take more
}

// calms are those of a node, by the partition that it is reserved for; "" is for all.
type calms map[string]*calm

// calm is what a node has left, or reserved, and that nobody wants.
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
	refused     refusals
	reserved    refusals // of what is reserved
	last        uint64   // when it was offered something: the others' number then
}

// spot is where something is offered.
type spot struct{ partition, node string }

// NewDesk makes a Desk.
func NewDesk(now func() time.Time) *Desk {
	return &Desk{now: now, takers: map[string]*taker{}, calms: map[string]calms{}, nobody: map[string]*full{}, wake: make(chan struct{})}
}

// Connect begins a session, in which nothing is declined yet; accepts says which nodes may
// be offered at all.
func (d *Desk) Connect(framework, session string, suppressed []string, accepts func(partition string, n *api.Node) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &taker{id: framework, session: session, accepts: accepts, suppressed: map[string]bool{}, refused: refusals{}, reserved: refusals{}}
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
// what is reserved there: each by itself, and what is more than that is offered all the same.
// With declined it wanted nothing of an offer; that again counts for longer each time. What it
// returns takes the refusal back.
func (d *Desk) Refuse(framework, partition, nodeID string, room, reserved api.Resources, span time.Duration, declined bool) (takeBack func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.takers[framework]
	if t == nil {
		return func() {}
	}
	delete(d.nobody, nodeID)
	if declined {
		d.count(nodeID, "", room)
		d.count(nodeID, partition, reserved)
	}
	at, span := spot{partition, nodeID}, min(max(span, 0), maxRefusal)
	full := len(t.refused)+len(t.reserved) >= maxRefusals
	of := t.refused.add(at, room, span, d.now(), declined, full)
	ofReserved := t.reserved.add(at, reserved, span, d.now(), declined, full)
	d.awake()
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		t.refused.remove(at, of)
		t.reserved.remove(at, ofReserved)
		delete(d.nobody, nodeID)
		d.awake()
	}
}

// count notes that somebody declined what a node has left, or reserved for a partition.
func (d *Desk) count(nodeID, partition string, room api.Resources) {
	if room.Equal(api.Resources{}) {
		return
	}
	if d.calms[nodeID] == nil {
		d.calms[nodeID] = calms{}
	}
	if c := d.calms[nodeID][partition]; c != nil && c.room.Equal(room) {
		c.declines++
	} else {
		d.calms[nodeID][partition] = &calm{room: room, declines: 1}
	}
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
	for _, r := range []refusals{t.refused, t.reserved} {
		maps.DeleteFunc(r, func(at spot, _ []*refusal) bool { return in(at.partition) })
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

// takes reports whether a taker may be offered that much at a spot, of what is left or of what
// is reserved; else when it may again, if it is a matter of time.
func (t *taker) takes(of refusals, at spot, room api.Resources, now time.Time) (ok bool, again time.Time) {
	if t.suppressed[at.partition] {
		return false, time.Time{}
	}
	again = of.until(at, room, now)
	return again.IsZero(), again
}
