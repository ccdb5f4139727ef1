package executor_test

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
	"github.com/mesita/mesita/executor/outside"
)

// A task whose port another program has is not started, and it is said who has
// it; its own port is not another's.
func TestPortThatIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		ports := api.Ranges{{First: int64(port), Last: int64(port)}}
		withPort := func(tk *api.Task, _ *api.JobSpec) {
			tk.Ports, tk.Resources.Ports = map[string]int{"http": port}, ports
		}
		n := newNode(t)
		n.cfg = func(c *executor.Config) {
			c.Outside = outside.New(outside.Config{Name: "oak", Has: api.Resources{Ports: ports}})
		}
		n.start()
		defer func() { n.stop() }()
		n.Assign(set(assignment("web", 0, 1, withPort)))
		settle()
		st := n.sink.last("web.0")
		equal(t, "states", n.sink.states("web.0"), []string{"1 TASK_FAILED port_taken"})
		if len(st.Taken) != 1 || !strings.HasPrefix(st.Taken[0].By, "executor.test (pid ") || !strings.Contains(st.Message, "port "+ports.String()+" (http) is taken on node oak by executor.test") {
			t.Errorf("reported is %+v", st)
		}
		if len(n.rt.Started()) != 0 || n.Outside().Holder(ports) == "" {
			t.Errorf("started is %v, and there is to tell: %+v", n.rt.Started(), n.Outside())
		}
		l.Close()
		n.Assign(set(assignment("web", 0, 2, withPort)))
		settle()
		equal(t, "states", n.sink.states("web.0")[1:], []string{"2 TASK_RUNNING"})
		l, err = net.Listen("tcp4", l.Addr().String()) // as the task would
		if err != nil {
			t.Skip(err)
		}
		defer l.Close()
		for range 3 {
			if err := n.LookOutside(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n.Outside() != nil {
			t.Errorf("the task's own port is told: %+v", n.Outside())
		}
	})
}
