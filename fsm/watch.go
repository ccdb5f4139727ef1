package fsm

import (
	"context"
	"slices"
	"sync"
)

// Table names a part of the state that a watcher can watch.
type Table uint8

// The tables.
const (
	TableJobs Table = iota
	TableTasks
	TableNodes
	TableNodeTasks // keyed by node: the tasks that hold resources of it changed
	TablePartitions
	TableOffers
	TableTokens
	TableBlobs
	TableCluster
	TableIncidents
	TableRooms // keyed by node: what is held of it changed
	TableFrameworks
	TableFrameworkNews // keyed as SplitNewsID says: what a framework has not acknowledged of a task changed
	TableExecutors     // keyed by the task that one is: it ended
	TableReservations  // keyed by node: what is reserved there, or used or offered of that, changed
)

// maxDirty bounds what a watcher remembers; beyond it the watcher says that
// everything may have changed.
const maxDirty = 65536

// Change is one changed object.
type Change struct {
	Table Table
	ID    string
}

// watchers is the set of watchers. Its lock nests inside the store's.
type watchers struct {
	mu    sync.Mutex
	all   []*Watcher
	keyed map[string][]*Watcher // those that watch one object
	fresh []*Watcher            // touched since the last wake
}

// Watcher collects which objects changed since it was last asked. It holds
// each object once however often it changed, so a slow reader costs nothing
// and misses nothing.
type Watcher struct {
	store  *Store
	tables [16]bool
	key    string // only this id, if not ""

	mu     sync.Mutex
	seen   changeSet     // what the published view holds
	coming changeSet     // what the next one will
	fresh  bool          // coming has something
	ready  chan struct{} // one slot
}

// changeSet is what changed; with all set, anything may have.
type changeSet struct {
	dirty map[Change]struct{}
	all   bool
}

func (c *changeSet) add(x Change) {
	switch {
	case c.all:
	case len(c.dirty) >= maxDirty:
		c.dirty, c.all = nil, true
	case c.dirty == nil:
		c.dirty = map[Change]struct{}{x: {}}
	default:
		c.dirty[x] = struct{}{}
	}
}

func (c *changeSet) merge(o changeSet) {
	if c.dirty == nil && !c.all || o.all {
		*c = o
		return
	}
	for x := range o.dirty {
		c.add(x)
	}
}

// Watch starts to collect changes of those tables. Everything counts as
// changed at first. Close the watcher when done.
func (s *Store) Watch(tables ...Table) *Watcher { return s.WatchKey("", tables...) }

// WatchKey is Watch for the one object with that id.
func (s *Store) WatchKey(id string, tables ...Table) *Watcher {
	w := &Watcher{store: s, key: id, seen: changeSet{all: true}, ready: make(chan struct{}, 1)}
	for _, t := range tables {
		w.tables[t] = true
	}
	w.ready <- struct{}{}
	// Between the changes of an entry and the view that holds them, a watcher
	// would be told nothing of them and read the view before.
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	s.watch.add(w)
	return w
}

func (ws *watchers) add(w *Watcher) {
	if w.key == "" {
		ws.all = append(ws.all, w)
		return
	}
	if ws.keyed == nil {
		ws.keyed = map[string][]*Watcher{}
	}
	ws.keyed[w.key] = append(ws.keyed[w.key], w)
}

func (ws *watchers) remove(w *Watcher) {
	is := func(x *Watcher) bool { return x == w }
	if w.key == "" {
		ws.all = slices.DeleteFunc(ws.all, is)
		return
	}
	if ws.keyed[w.key] = slices.DeleteFunc(ws.keyed[w.key], is); len(ws.keyed[w.key]) == 0 {
		delete(ws.keyed, w.key)
	}
}

// Close ends the watch.
func (w *Watcher) Close() {
	set := &w.store.watch
	set.mu.Lock()
	defer set.mu.Unlock()
	set.remove(w)
}

// Ready is signalled when Take has something to return.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// Wait blocks until something changed or ctx ends, then is Take.
func (w *Watcher) Wait(ctx context.Context) (changes map[Change]struct{}, all bool, err error) {
	select {
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	case <-w.ready:
		changes, all = w.Take()
		return changes, all, nil
	}
}

// Take returns what changed since the last Take; with all set, anything may
// have. A view taken afterwards holds all of these changes.
func (w *Watcher) Take() (changes map[Change]struct{}, all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	changes, all = w.seen.dirty, w.seen.all
	w.seen = changeSet{}
	return changes, all
}

func (ws *watchers) touch(t Table, id string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.all {
		ws.mark(w, Change{t, id})
	}
	for _, w := range ws.keyed[id] {
		ws.mark(w, Change{t, id})
	}
}

func (ws *watchers) mark(w *Watcher, c Change) {
	if !w.tables[c.Table] {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.fresh {
		w.fresh = true
		ws.fresh = append(ws.fresh, w)
	}
	w.coming.add(c)
}

// wake hands out what changed, once the view that holds it is published.
func (ws *watchers) wake() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for i, w := range ws.fresh {
		w.mu.Lock()
		w.seen.merge(w.coming)
		w.coming, w.fresh = changeSet{}, false
		w.mu.Unlock()
		select {
		case w.ready <- struct{}{}:
		default:
		}
		ws.fresh[i] = nil
	}
	ws.fresh = ws.fresh[:0]
}

// touchAll marks everything as changed, after a restore.
func (ws *watchers) touchAll() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.reset(ws.all)
	for _, set := range ws.keyed {
		ws.reset(set)
	}
}

func (ws *watchers) reset(set []*Watcher) {
	for _, w := range set {
		w.mu.Lock()
		if !w.fresh {
			w.fresh = true
			ws.fresh = append(ws.fresh, w)
		}
		w.coming = changeSet{all: true}
		w.mu.Unlock()
	}
}
