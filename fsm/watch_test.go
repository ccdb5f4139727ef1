package fsm

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// What Take returns is in the view that is read next, even while commands are
// applied: else who follows the changes would never look at it again.
func TestTakenChangesAreInTheView(t *testing.T) {
	s := NewStore(nil)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := s.Do(t.Context(), &ClusterInit{Meta: Meta{At: now}, Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{},
		Node: &api.Node{ID: "id0", Name: "n0"}}); err != nil {
		t.Fatal(err)
	}
	w := s.Watch(TableJobs)
	defer w.Close()
	w.Take()
	const entries, each = 300, 20
	done := make(chan error, 1)
	go func() {
		for i := range entries {
			cmds := make([]Command, each)
			for k := range cmds {
				spec := &api.JobSpec{Kind: api.KindBatch, Name: fmt.Sprintf("j%d-%d", i, k), TaskSpec: api.TaskSpec{Command: []string{"/bin/true"}}}
				spec.Normalize()
				cmds[k] = &JobCreate{Meta: Meta{At: now}, Spec: spec}
			}
			if _, err := s.Propose(t.Context(), cmds...); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	seen := map[string]bool{}
	take := func() {
		changes, all := w.Take()
		v := s.View()
		if all {
			t.Error("all is said to have changed")
		}
		for c := range changes {
			if v.Job(c.ID) == nil {
				t.Fatalf("job %s was told as changed before a view had it", c.ID)
			}
			seen[c.ID] = true
		}
	}
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
			take()
		}
	}
	take()
	if len(seen) != entries*each {
		t.Errorf("%d of %d jobs were told", len(seen), entries*each)
	}
}

// A watcher that is made while commands are applied misses nothing: what it
// is not told is in the view that it looks at first.
func TestWatchBegunDuringAnEntry(t *testing.T) {
	s := NewStore(nil)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := s.Do(t.Context(), &ClusterInit{Meta: Meta{At: now}, Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{},
		Node: &api.Node{ID: "id0", Name: "n0"}}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for i := range 3000 {
		id := fmt.Sprint("j", i)
		go func() {
			spec := &api.JobSpec{Kind: api.KindBatch, Name: id, TaskSpec: api.TaskSpec{Command: []string{"/bin/true"}}}
			spec.Normalize()
			_, err := s.Do(t.Context(), &JobCreate{Meta: Meta{At: now}, Spec: spec})
			done <- err
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		w := s.WatchKey(id, TableJobs)
		for ctx.Err() == nil && s.View().Job(id) == nil {
			_, _, _ = w.Wait(ctx) // a ctx that ended is told below
		}
		cancel()
		w.Close()
		if err := <-done; err != nil || s.View().Job(id) == nil {
			t.Fatal(err)
		}
		if ctx.Err() == context.DeadlineExceeded {
			t.Fatalf("job %s is there, and its watcher was not told", id)
		}
	}
}

// A watcher that nobody asks stays bounded, and says so.
func TestWatcherIsBounded(t *testing.T) {
	var c changeSet
	for i := range maxDirty + 1 {
		c.add(Change{TableJobs, fmt.Sprint(i)})
	}
	if !c.all || c.dirty != nil {
		t.Errorf("%d changes are remembered", len(c.dirty))
	}
	c.merge(changeSet{dirty: map[Change]struct{}{{TableJobs, "x"}: {}}})
	if !c.all {
		t.Error("it forgot that all may have changed")
	}
}
