package integration

import (
	"fmt"
	"testing"

	"github.com/mesita/mesita/api"
)

// What was lent comes back to all who are owed it, however many ask at once, of whatever
// size what is lent and what is asked for are, and whoever is served first.
func TestAllGuaranteesComeBack(t *testing.T) {
	for _, priorities := range [][]int{{0, 0, 0, 0}, {3, 2, 1, 0}, {0, 1, 0, 1}} {
		for n := 1; n <= 4; n++ {
			for _, lent := range []api.MilliCPU{500, 1000, 2000, 4000} {
				for _, asked := range []int{1, 2} { // tasks that are each a part of what is guaranteed
					s := newShared(t, []api.Resources{{CPUs: 4000, Mem: 4 << 30}})
					for i := range n {
						s.partition(&api.Partition{Path: fmt.Sprintf("p%d", i), Guarantee: api.Amounts{CPUs: 1000}, Priority: priorities[i]})
					}
					s.submit("ann", batchOf("default", int(4000/lent), lent, 1<<20))
					s.settle()
					for i := range n {
						s.submit("ann", batchOf(fmt.Sprintf("p%d", i), asked, api.MilliCPU(1000/asked), 1<<20))
					}
					s.settle()
					for task := range s.View().Tasks() {
						if task.Node == "" && task.Partition != "default" {
							t.Fatalf("%d partitions of priorities %v, tasks of %v are lent: %s waits for what it is guaranteed", n, priorities, lent, task.ID)
						}
					}
				}
			}
		}
	}
}
