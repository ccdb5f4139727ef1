package scheduler

import (
	"reflect"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// What is forgotten for want of memory is made again, and decides the same.
func TestForgottenOrdersDecideTheSame(t *testing.T) {
	for _, placement := range api.Names(api.Placements()) {
		for _, spread := range []string{"", "zone"} {
			s := bigCluster(t, 6)
			do(t, s, &fsm.PartitionPut{Meta: fsm.Meta{At: t0}, Partition: &api.Partition{Path: api.DefaultPartition, Placement: placement, Policy: api.PolicyFair}})
			submitMany(t, s, 200, 20, 40, spread) // more than there is room for
			decide := func(budget int64) []fsm.Command {
				e := NewEngine(begin)
				e.book.Max = budget
				e.Update(s.View(), nil, true)
				cmds, _ := e.Decide(t0)
				return cmds
			}
			want := decide(1 << 30)
			got := decide(1)
			if len(want) == 0 || !reflect.DeepEqual(got, want) {
				t.Errorf("%s, spread over %q: forgetting all changes the decision", placement, spread)
			}
		}
	}
}
