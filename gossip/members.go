package gossip

import (
	"sort"
	"sync"
	"time"
)

// maxAbsent bounds how many members that left or failed are remembered.
const maxAbsent = 1024

// State is what gossip believes of a member.
type State int

const (
	Alive   State = iota
	Suspect       // did not answer our own probe; others' suspicions show as Failed only
	Left          // said goodbye
	Failed        // did not answer anybody for the suspicion time
)

func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Suspect:
		return "suspect"
	case Left:
		return "left"
	case Failed:
		return "failed"
	}
	return "unknown"
}

// Member is one node as gossip sees it, this node included.
type Member struct {
	ID    string
	Name  string
	Addr  string // IP:port of its one port, the last known
	Meta  Meta
	State State
	Since time.Time // of State, by this node's clock
}

// members is the table behind Members and Addr. memberlist calls in with its
// own lock held, so nothing here may block or call back.
type members struct {
	self   string
	notify func(EventType, Member)
	lost   chan struct{} // cap 1: a member failed

	mu    sync.Mutex
	all   map[string]*Member
	rival uint64 // boot of another process seen with our id
}

func newMembers(self string, notify func(EventType, Member)) *members {
	return &members{self: self, notify: notify, lost: make(chan struct{}, 1), all: map[string]*Member{}}
}

func (t *members) list() []Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Member, 0, len(t.all))
	for _, m := range t.all {
		out = append(out, *m)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// astray lists those that failed and may come back: another node has not got
// their address.
func (t *members) astray() []Member {
	var out []Member
	all, taken := t.list(), map[string]bool{}
	for _, m := range all {
		taken[m.Addr] = taken[m.Addr] || m.State == Alive
	}
	for _, m := range all {
		if m.State == Failed && !taken[m.Addr] {
			out = append(out, m)
		}
	}
	return out
}

func (t *members) get(id string) (Member, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.all[id]; m != nil {
		return *m, true
	}
	return Member{}, false
}

// present records that memberlist holds a member for alive.
func (t *members) present(meta Meta, kind EventType) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.all[meta.ID]
	if m == nil {
		m = &Member{ID: meta.ID, State: Alive, Since: time.Now()}
		t.all[meta.ID] = m
	}
	t.set(m, Alive)
	t.describe(m, meta)
	t.notify(kind, *m)
}

// leaves records that a member is about to stop on purpose.
func (t *members) leaves(meta Meta) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.all[meta.ID]; m != nil && m.Meta.Boot == meta.Boot {
		m.Meta.Leaving = true
	}
}

// absent records that a member left or failed.
func (t *members) absent(meta Meta) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.all[meta.ID]
	if m == nil || meta.ID == t.self {
		return
	}
	if meta.Leaving || m.Meta.Leaving && m.Meta.Boot == meta.Boot {
		t.set(m, Left)
		t.notify(EventLeave, *m)
	} else {
		t.set(m, Failed)
		t.notify(EventFail, *m)
		select {
		case t.lost <- struct{}{}:
		default:
		}
	}
	t.prune()
}

// moved records a later start of a node at another address, which memberlist
// takes only once it has given up on the old one. It reports false if the news
// is not later.
func (t *members) moved(meta Meta) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.all[meta.ID]
	if m == nil || meta.Boot <= m.Meta.Boot {
		return false
	}
	if meta.ID == t.self {
		news := meta.Boot > t.rival
		t.rival = max(t.rival, meta.Boot)
		return news
	}
	t.describe(m, meta)
	t.notify(EventUpdate, *m)
	return true
}

// suspect marks a member whose probe by this node failed. One that has said goodbye has
// left, also where what memberlist says of that never comes.
func (t *members) suspect(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.all[id]
	switch {
	case m == nil || m.State != Alive || id == t.self:
	case m.Meta.Leaving:
		t.set(m, Left)
		t.notify(EventLeave, *m)
	default:
		t.set(m, Suspect)
		t.notify(EventSuspect, *m)
	}
}

// heard takes back a suspicion.
func (t *members) heard(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.all[id]; m != nil && m.State == Suspect {
		t.set(m, Alive)
		t.notify(EventUpdate, *m)
	}
}

func (t *members) set(m *Member, s State) {
	if m.State != s {
		m.State, m.Since = s, time.Now()
	}
}

// describe keeps the latest word: that of an earlier start must not bring an
// old address back, nor what was on its way take back a goodbye.
func (t *members) describe(m *Member, meta Meta) {
	if meta.Boot >= m.Meta.Boot {
		meta.Leaving = meta.Leaving || m.Meta.Leaving && m.Meta.Boot == meta.Boot
		m.Name, m.Addr, m.Meta = meta.Name, meta.Addr, meta
	}
}

// prune forgets the longest absent beyond maxAbsent.
func (t *members) prune() {
	var oldest *Member
	absent := 0
	for _, m := range t.all {
		if m.State == Left || m.State == Failed {
			absent++
			if oldest == nil || m.Since.Before(oldest.Since) {
				oldest = m
			}
		}
	}
	if absent > maxAbsent {
		delete(t.all, oldest.ID)
	}
}
