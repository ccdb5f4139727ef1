package agent

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// Test of Mesos: HeartbeatEvents. The first comes after half an hour, as there are executors
// that take an earlier one as an error.
func TestHeartbeatEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		info, err := wire.Marshal(wire.Protobuf, &about{&v1.ExecutorInfo{ExecutorID: &v1.ExecutorID{Value: "e"}}, &v1.FrameworkInfo{}})
		if err != nil {
			t.Fatal(err)
		}
		d := New(Config{NodeID: "n1", Dir: t.TempDir(), Peer: func(context.Context) (uint32, bool) { return 0, false }, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		row := &api.Task{ID: "j.e", Attempt: 1, State: api.TaskRunning, Framework: &api.FrameworkTask{Framework: "f", Executor: "e", IsExecutor: true, Info: info}}
		d.Assign([]api.Assignment{{Task: row, Spec: &api.TaskSpec{}}}, true)
		for lasts, want := range map[time.Duration]int{heartbeat - time.Second: 0, heartbeat + time.Second: 1} {
			ctx, cancel := context.WithTimeout(t.Context(), lasts)
			q := httptest.NewRequestWithContext(ctx, http.MethodPost, "/api/v1/executor", strings.NewReader(of(`"type":"SUBSCRIBE","subscribe":{}`)))
			q.Header = jsonHeader.Clone()
			w := httptest.NewRecorder()
			d.ServeHTTP(w, q)
			cancel()
			if got := w.Body.String(); !strings.Contains(got, `"SUBSCRIBED"`) || strings.Count(got, "20\n"+`{"type":"HEARTBEAT"}`) != want {
				t.Errorf("within %s came %q", lasts, got)
			}
		}
	})
}
