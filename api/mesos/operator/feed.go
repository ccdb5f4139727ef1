package operator

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/mesos/outbox"
	"github.com/mesita/mesita/api/mesos/reply"
	"github.com/mesita/mesita/api/mesos/rows"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// maxSubscribers bounds those that one leader tells; beyond it the first one ends of whoever
// has the most of them, so that nobody ends those of others.
const maxSubscribers = 1000

// held is what is held for a subscriber that does not read; beyond it its stream ends.
var held = outbox.Bounds{Bytes: 16 << 20, Count: 100_000, All: 256 << 20}

// subscriber is one who is told what changes.
type subscriber struct {
	id     auth.Identity
	format wire.Format
	began  chan struct{} // is closed once it is told of what comes after view
	view   *fsm.View     // what it is told first; the feed has done with it then
	from   uint64        // its index
	*outbox.Outbox
}

// feed tells subscribers what changes, while this node leads. With none it watches
// nothing.
type feed struct {
	store *fsm.Store
	wake  chan struct{} // one slot
	total atomic.Int64  // bytes that are held for all

	mu    sync.Mutex
	fresh []*subscriber // that have not begun
	subs  []*subscriber // that have, oldest first
	over  bool
}

func newFeed(s *fsm.Store) *feed { return &feed{store: s, wake: make(chan struct{}, 1)} }

// run tells what changes until the lead ends.
func (f *feed) run(ctx context.Context) {
	defer f.closeAll()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
			f.watch(ctx)
		}
	}
}

// watch tells what changes while there are subscribers.
func (f *feed) watch(ctx context.Context) {
	w := f.store.Watch(fsm.TableTasks, fsm.TableNodes, fsm.TableFrameworks)
	defer w.Close()
	k := newKnown()
	for {
		changes, all := w.Take()
		v := f.store.View()
		if all { // nobody can say what has changed: who listens is told anew when it comes again
			f.drop()
			k.learn(v)
		}
		f.tell(v, k.news(v, changes))
		if !f.begin(v) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-w.Ready():
		case <-f.wake:
		}
	}
}

// begin has those begin that are new, and reports whether there are any at all.
func (f *feed) begin(v *fsm.View) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.fresh {
		s.view, s.from = v, v.Index()
		close(s.began)
	}
	f.subs = append(f.subs, f.fresh...)
	f.fresh = nil
	for len(f.subs) > maxSubscribers {
		i := f.excess()
		f.subs[i].Close(nil)
		f.subs = slices.Delete(f.subs, i, i+1)
	}
	return len(f.subs) > 0
}

// excess is the first subscriber of whoever has the most.
func (f *feed) excess() int {
	n, most := map[string]int{}, 0
	for _, s := range f.subs {
		n[s.of()]++
		most = max(most, n[s.of()])
	}
	return slices.IndexFunc(f.subs, func(s *subscriber) bool { return n[s.of()] == most })
}

// of is whose a subscriber is.
func (s *subscriber) of() string { return cmp.Or(s.id.Token, s.id.Actor) }

// tell queues news for those who see them, but what was in the view that they began with.
func (f *feed) tell(v *fsm.View, all []news) {
	if len(all) == 0 {
		return
	}
	f.mu.Lock()
	subs := slices.Clone(f.subs)
	f.mu.Unlock()
	for _, s := range subs {
		r := rows.Of(v, s.id)
		for i := range all {
			n := &all[i]
			if n.revision <= s.from || !n.seen(r) {
				continue
			}
			if b := n.record(s.format, r); b != nil {
				s.Queue(b, nil)
			} else {
				s.Close(nil) // it is nothing that can be said: subscribed anew it hears what is
			}
		}
	}
}

// enter adds a subscriber, which begins soon.
func (f *feed) enter(s *subscriber) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return reply.Unavailable(reply.NoLeader)
	}
	f.fresh = append(f.fresh, s)
	f.kick()
	return nil
}

func (f *feed) leave(s *subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	is := func(x *subscriber) bool { return x == s }
	f.subs, f.fresh = slices.DeleteFunc(f.subs, is), slices.DeleteFunc(f.fresh, is)
	f.kick()
}

func (f *feed) kick() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// drop ends all that have begun.
func (f *feed) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.subs {
		s.Close(nil)
	}
	f.subs = nil
}

func (f *feed) closeAll() {
	f.drop()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	for _, s := range f.fresh {
		s.Close(nil)
	}
	f.fresh = nil
}
