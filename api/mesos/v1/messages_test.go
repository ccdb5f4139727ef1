package v1_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// roots are all messages that are sent by themselves.
var roots = map[string]func() any{
	"scheduler.Call":     func() any { return &v1.SchedulerCall{} },
	"scheduler.Event":    func() any { return &v1.SchedulerEvent{} },
	"scheduler.Response": func() any { return &v1.SchedulerResponse{} },
	"executor.Call":      func() any { return &v1.ExecutorCall{} },
	"executor.Event":     func() any { return &v1.ExecutorEvent{} },
	"master.Call":        func() any { return &v1.MasterCall{} },
	"master.Event":       func() any { return &v1.MasterEvent{} },
	"master.Response":    func() any { return &v1.MasterResponse{} },
	"agent.Call":         func() any { return &v1.AgentCall{} },
	"agent.Response":     func() any { return &v1.AgentResponse{} },
	"agent.ProcessIO":    func() any { return &v1.ProcessIO{} },
}

// golden reads testdata/golden.txt: a message a line, its root before it.
func golden(t testing.TB) (out [][2]string) {
	t.Helper()
	b, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		root, json, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok && roots[root] != nil {
			out = append(out, [2]string{root, json})
		} else if line != "\n" && line[0] != '#' {
			t.Fatalf("no root: %s", line)
		}
	}
	return out
}

// Each golden message is what is written of it, and the same in protobuf.
func TestGoldenMessages(t *testing.T) {
	for _, g := range golden(t) {
		root, want := g[0], g[1]
		m := roots[root]()
		if err := wire.Unmarshal(wire.JSON, []byte(want), m); err != nil {
			t.Errorf("%s %s: %v", root, want, err)
			continue
		}
		if got, err := wire.Marshal(wire.JSON, m); err != nil || string(got) != want {
			t.Errorf("%s: error %v, got\n%s\nwant\n%s", root, err, got, want)
		}
		b, err := wire.Marshal(wire.Protobuf, m)
		if err != nil {
			t.Errorf("%s: %v", root, err)
			continue
		}
		again := roots[root]()
		if err := wire.Unmarshal(wire.Protobuf, b, again); err != nil || !reflect.DeepEqual(m, again) {
			t.Errorf("%s: protobuf brings back %+v, error %v, of %s", root, again, err, want)
		}
	}
}
