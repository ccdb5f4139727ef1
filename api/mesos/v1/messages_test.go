package v1_test

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

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

// TestCapturedMessages: what real clients and Mesos send is read, and written
// as Mesos writes it: the line after it, or the same.
func TestCapturedMessages(t *testing.T) {
	b, err := os.ReadFile("testdata/captured.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	read := 0
	for i, line := range lines {
		root, sent, _ := strings.Cut(line, " ")
		if root == "#" || root == "=>" {
			continue
		}
		want := sent
		if i+1 < len(lines) {
			if w, ok := strings.CutPrefix(lines[i+1], "=> "); ok {
				want = w
			}
		}
		read++
		m := roots[root]()
		if err := wire.Unmarshal(wire.JSON, []byte(sent), m); err != nil {
			t.Errorf("line %d: %v", i+1, err)
			continue
		}
		if got, err := wire.Marshal(wire.JSON, m); err != nil || string(got) != want {
			t.Errorf("line %d: error %v, got\n%s\nwant\n%s", i+1, err, got, want)
		}
		b, err := wire.Marshal(wire.Protobuf, m)
		if err != nil {
			t.Errorf("line %d: %v", i+1, err)
		}
		again := roots[root]()
		if err := wire.Unmarshal(wire.Protobuf, b, again); err != nil || !reflect.DeepEqual(m, again) {
			t.Errorf("line %d: protobuf brings back %+v, error %v", i+1, again, err)
		}
	}
	if read < 30 {
		t.Errorf("%d messages only", read)
	}
}

func TestDefaults(t *testing.T) {
	var filters *v1.Filters
	if filters.GetRefuseSeconds() != 5 || (&v1.Filters{RefuseSeconds: new(0.0)}).GetRefuseSeconds() != 0 {
		t.Error("refuse_seconds is 5 only if it is unset")
	}
	if !(&v1.CommandInfo{}).GetShell() || (&v1.CommandInfo{Shell: new(false)}).GetShell() {
		t.Error("shell is true only if it is unset")
	}
	if (&v1.FrameworkInfo{}).GetRole() != "*" {
		t.Error("the default role is *")
	}
	if p := (&v1.HealthCheckTCPCheckInfo{}).GetProtocol(); p != v1.NetworkInfoProtocolIPv4 {
		t.Error("the default protocol is", p)
	}
	if v1.Get[string](nil) != "" || v1.Get(new("a")) != "a" {
		t.Error("Get")
	}
}

func TestEnumsHaveTheirNames(t *testing.T) {
	for _, c := range []struct {
		e    interface{ String() string }
		want string
	}{
		{v1.TaskStateRunning, "TASK_RUNNING"}, {v1.TaskStatusReasonTaskKilledDuringLaunch, "REASON_TASK_KILLED_DURING_LAUNCH"},
		{v1.SchedulerCallTypeAccept, "ACCEPT"}, {v1.TaskState(99), "99"},
	} {
		if got := c.e.String(); got != c.want {
			t.Errorf("%d is %s, want %s", c.e, got, c.want)
		}
	}
}

func TestDurationsAsText(t *testing.T) {
	for _, c := range []struct {
		json string
		want time.Duration
		ok   bool
	}{
		{`{"seconds":600}`, 10 * time.Minute, true},
		{`"600s"`, 10 * time.Minute, true},
		{`"1.5s"`, 1500 * time.Millisecond, true},
		{`{"seconds":1,"nanos":5}`, time.Second + 5, true},
		{`{"seconds":9223372036854775807}`, 1<<63 - 1, true},
		{`"600"`, 0, false},
		{`"10m"`, 0, false},
		{`""`, 0, false},
		{`600`, 0, false},
	} {
		var m v1.MasterCall
		err := wire.Unmarshal(wire.JSON, []byte(`{"drain_agent":{"agent_id":{"value":"a"},"max_grace_period":`+c.json+`}}`), &m)
		if (err == nil) != c.ok || err == nil && m.DrainAgent.MaxGracePeriod.Value() != c.want {
			t.Errorf("%s: %v, %+v", c.json, err, m.DrainAgent)
		}
	}
}
