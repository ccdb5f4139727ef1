package scheduler

import (
	"reflect"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// What is forgotten for want of memory is made again, and decides the same.
func TestForgottenOrdersDecideTheSame(t *testing.T) {
	for _, placement := range []api.Placement{api.PlaceSpread, api.PlaceClosest, api.PlaceWeighted, api.PlacePack} {
		for _, spread := range []string{"", "zone"} {
			s := bigCluster(t, 6)
			do(t, s, &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: &api.Partition{Path: api.DefaultPartition, Placement: placement, Policy: api.PolicyFair}})
			submitMany(t, s, 200, 20, 40, spread) // more than there is room for
			decide := func(budget int64) ([]fsm.Command, *Engine) {
				e := NewEngine(begin)
				e.maxOrders = budget
				e.Update(s.View(), nil, true)
				cmds, _ := e.Decide(t0)
				return cmds, e
			}
			want, all := decide(1 << 30)
			got, none := decide(1)
			if len(want) == 0 || !reflect.DeepEqual(got, want) {
				t.Errorf("%s, spread over %q: forgetting all changes the decision", placement, spread)
			}
			all.maxOrders, none.slots.made = all.slots.made/4, 1
			all.trim()
			none.trim()
			if n := held(all); n == 0 || n > all.maxOrders {
				t.Errorf("%d bytes are kept of at most %d", n, all.maxOrders)
			}
			if n := held(none); n != 0 {
				t.Errorf("%d bytes are kept", n)
			}
		}
	}
}

// held is what the orders of the jobs that wait take.
func held(e *Engine) (sum int64) {
	seen := map[*class]bool{nil: true}
	for _, l := range e.jobs {
		if l.entry != nil && !seen[l.entry.class] {
			seen[l.entry.class] = true
			sum += l.entry.class.size()
		}
	}
	return sum
}
