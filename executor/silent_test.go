package executor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
)

// A keeper that does not answer is told of while that lasts, and what it was not
// asked to start ends for the node's reasons, to start elsewhere.
func TestASilentKeeper(t *testing.T) {
	bubble(t, func(t *testing.T, n *node) {
		first := assignment("a", 0, 1)
		n.Assign(set(first))
		pass(time.Minute)
		if n.KeeperSilent() {
			t.Fatal("it answers")
		}
		n.rt.SetSilent(true)
		pass(time.Minute)
		if !n.KeeperSilent() {
			t.Fatal("that it is silent is not seen")
		}
		second := assignment("b", 0, 1)
		n.Assign(set(first, second))
		settle()
		if st := n.sink.last("b.0"); st.State != api.TaskFailed || st.Reason != api.ReasonInternal || st.PID != 0 || !strings.Contains(st.Message, "does not answer") {
			t.Errorf("%+v", st)
		}
		n.rt.SetSilent(false)
		pass(time.Minute)
		if n.KeeperSilent() || n.sink.last("a.0").State != api.TaskRunning {
			t.Errorf("silent %v, %+v", n.KeeperSilent(), n.sink.last("a.0"))
		}
	})
}
