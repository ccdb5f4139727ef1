package fsm

import (
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// A node that was removed is not admitted again under its old key, which the
// proof of its removal names; below the level it is, as older programs do.
func TestRemovedKeyDoesNotJoin(t *testing.T) {
	for level := range Newest + 1 {
		s := storeAt(t, level)
		must := func(c Command) {
			t.Helper()
			if _, err := s.Do(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		must(&TokenCreate{Token: &api.Token{ID: "tok", Kind: api.TokenJoin, Hash: "h"}})
		join := &NodeJoin{Token: "tok", Hash: "h", NodeID: nodeID(7), Name: "elm"}
		must(join)
		must(&NodeRemove{ID: nodeID(7)})
		_, err := s.Do(t.Context(), join)
		if level == 0 && err != nil || level > 0 && (api.ErrorCode(err) != api.CodeConflict || !strings.Contains(err.Error(), "move the folder away")) {
			t.Errorf("level %d: %v", level, err)
		}
		other := *join
		other.NodeID, other.Name = nodeID(8), "fir"
		must(&other)
	}
}
