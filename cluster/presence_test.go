package cluster

import (
	"testing"

	"github.com/mesita/mesita/api"
)

// A worker, which has no copy of the state, tells again what other programs have
// of its machine once that is not what its feed says of it.
func TestAWorkerTellsWhatOthersHaveByNow(t *testing.T) {
	a := alone(t, 3)
	busy := &api.Outside{Mem: 1 << 30}
	if a.mistaken(busy) {
		t.Error("it knows better than a cluster that said nothing yet")
	}
	a.ownNode.Store(&api.Node{ID: "me", State: api.NodeReady})
	if !a.mistaken(busy) || a.mistaken(nil) {
		t.Error("what others have by now is not told, or nothing is")
	}
	a.ownNode.Store(&api.Node{ID: "me", State: api.NodeReady, Outside: busy})
	if a.mistaken(busy) || !a.mistaken(nil) {
		t.Error("what is known is told, or what is over is not")
	}
}
