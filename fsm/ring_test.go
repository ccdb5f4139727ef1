package fsm

import (
	"fmt"
	"testing"

	"github.com/mesita/mesita/api"
)

// However much one command does, whoever saw all that happened before it finds all of
// it, also while the next ones take effect.
func TestWhatHappensAtOnceIsFollowedWhole(t *testing.T) {
	const tasks = 2 * ringSize
	service := func(w *world) {
		w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, "large", tasks)})
		w.do(&TaskCreate{Meta: w.at(), Job: "large", Count: tasks})
	}
	many := func(w *world) Command {
		c := &ApplyAll{Meta: w.at()}
		for i := range maxApplyTasks {
			c.Creates = append(c.Creates, &JobCreate{Spec: testSpec(api.KindService, fmt.Sprint("s", i), 1)})
		}
		return c
	}
	for name, command := range map[string]func(*world) Command{
		"stop of one service": func(w *world) Command { return &JobStop{Meta: w.at(), ID: "large"} },
		"apply of many":       many,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Newest, 1)
			service(w)
			after := w.View().LastEvent()
			w.do(command(w))
			all := w.View().LastEvent() - after
			if all < 2*ringSize {
				t.Fatalf("%d events are too few to show anything", all)
			}
			for seen := uint64(0); seen < all; {
				events, err := w.Events(t.Context(), after+seen, 1024)
				if err != nil {
					t.Fatalf("after %d of %d: %v", seen, all, err)
				}
				for _, e := range events {
					if seen++; e.Index != after+seen {
						t.Fatalf("event %d comes where %d should", e.Index, after+seen)
					}
				}
				w.do(&JobCreate{Meta: w.at(), Spec: testSpec(api.KindService, fmt.Sprint("next", seen), 9)})
			}
		})
	}
}

// A ring keeps so many at least, and no more than is bounded: by what became visible
// together, and whatever that is.
func TestARingIsBounded(t *testing.T) {
	r, n := new(ring), uint64(0)
	add := func(events int) {
		for range events {
			n++
			r.add(api.Event{Index: n})
		}
	}
	for range 6 * ringSize / 10 {
		add(10)
		r.wake()
		if kept := len(r.events); n > ringSize && kept < ringSize || kept > 2*ringSize+10 {
			t.Fatalf("%d of %d are kept", kept, n)
		}
	}
	add(ringMost + 3*ringSize) // before anybody sees them
	if kept := len(r.events); kept < ringMost-ringSize || kept > ringMost {
		t.Errorf("%d are kept of very many at once", kept)
	}
	r.wake()
	for range 3 * ringSize / 10 {
		add(10)
		r.wake()
	}
	if kept := len(r.events); kept > 2*ringSize+10 || r.events[kept-1].Index != n || len(r.shown) > kept || len(r.own) != kept {
		t.Errorf("%d are kept of %d, with %d views", kept, n, len(r.shown))
	}
}
