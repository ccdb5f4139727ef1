package fsm

import (
	"fmt"
	"iter"
	"strings"

	"github.com/mesita/mesita/api"
)

// Chain is a partition and those above it, the nearest first; empty if there is
// none with that path.
func (v *View) Chain(path string) []*api.Partition { return v.t.chain(path) }

func (t *tables) chain(path string) (out []*api.Partition) {
	for ; path != ""; path = api.ParentPath(path) {
		if p := t.partitions.get(&api.Partition{Path: path}); p != nil {
			out = append(out, p)
		}
	}
	return out
}

// within refuses a spec that asks for more than its partition, or one above, lets a
// job have, with so many tasks more than before. Old is nil for one that begins.
func (x *tx) within(s, old *api.JobSpec, more int) error {
	if old != nil && old.Partition != s.Partition {
		old = nil
	}
	if err := s.Within(x.chain(s.Partition), old); err != nil {
		return err
	}
	return x.mayWait(s.Partition, "", more)
}

// mayWait refuses tasks beyond those that a partition, or one above, lets wait. What
// waits since a node was lost, or was preempted, is never refused. Those that waited in a partition
// already, if that is not "", are no more for it and those above it.
func (x *tx) mayWait(path, from string, more int) error {
	if more <= 0 {
		return nil
	}
	for _, p := range x.chain(path) {
		if p.MaxWaiting == 0 || from == p.Path || strings.HasPrefix(from, p.Path+"/") {
			continue
		}
		if n := x.waitingIn(p.Path); n+more > p.MaxWaiting {
			return &api.Error{Code: api.CodeConflict, Field: "partition", Message: fmt.Sprintf(
				"at most %s may wait in %s, %d wait there now, and %d more would be too many: wait until some have started, submit fewer, or have an admin raise it: mesita partition set %s --max-waiting %d",
				api.Count(p.MaxWaiting, "task"), p.Path, n, more, p.Path, n+more)}
		}
	}
	return nil
}

// waitingIn is how many tasks wait in a partition and those below it.
func (t *tables) waitingIn(path string) (n int) {
	for r := range t.usageIn(path) {
		n += r.Pending
	}
	return n
}

// usageIn yields the sums of a partition and of those below it.
func (t *tables) usageIn(path string) iter.Seq[*usageRow] {
	return func(yield func(*usageRow) bool) {
		if r, ok := t.usage.Get(&usageRow{path: path}); ok && !yield(r) {
			return
		}
		below := path + "/"
		t.usage.AscendGreaterOrEqual(&usageRow{path: below}, func(r *usageRow) bool {
			return strings.HasPrefix(r.path, below) && yield(r)
		})
	}
}
