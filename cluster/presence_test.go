package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
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

// A hello that is refused is told, once for as long as the reason is the same;
// that nobody leads is said elsewhere.
func TestARefusedHelloIsTold(t *testing.T) {
	a := alone(t, 3)
	var log bytes.Buffer
	a.log = slog.New(slog.NewTextHandler(&log, nil))
	for _, err := range []error{
		api.Errorf(api.CodeUnavailable, "no node leads"), context.DeadlineExceeded,
		api.FieldErrorf("attrs", "is odd"), api.FieldErrorf("attrs", "is odd"),
		fmt.Errorf("%w (last: %w)", context.DeadlineExceeded, api.Errorf(api.CodeTooLarge, "is too long")),
		api.Errorf(api.CodeNotAllowed, "who are you"),
	} {
		a.notTaken(t.Context(), err)
	}
	if n := strings.Count(log.String(), "does not take this node"); n != 3 || !strings.Contains(log.String(), "is odd") {
		t.Errorf("%d lines, want one for each of three refusals:\n%s", n, &log)
	}
}
