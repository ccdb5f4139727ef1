package node

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// discard is a container that takes what is typed.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) End() error                  { return nil }
func (discard) Resize(s Size) bool          { return s.Rows > 0 && s.Cols > 0 }

// Whatever comes as calls and as input is taken or refused.
func FuzzCalls(f *testing.F) {
	f.Add([]byte("21\n{\"type\":\"GET_HEALTH\"}"), true)
	f.Add([]byte("28\n\b\x12R\x18\b\x01\x12\x14\n\x12c-20261121T021317Z"), false)
	f.Add([]byte(`92`+"\n"+`{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"PROCESS_IO","process_io":{}}}`), true)
	f.Fuzz(func(t *testing.T, b []byte, text bool) {
		r := request{format: wire.Protobuf, records: wire.NewRecordReader(bytes.NewReader(b), maxFirst)}
		if text {
			r.format = wire.JSON
		}
		var m v1.AgentCall
		if err := r.next(&m); err == nil && invalid(&m) == "" {
			for _, p := range parts(containerOf(&m)) {
				if strings.ContainsAny(p, "/\\ \n") || p == ".." {
					t.Errorf("%q is the id of a container", p)
				}
			}
		}
		if err := r.typeAll(discard{}); errors.Is(err, io.ErrNoProgress) {
			t.Error(err)
		}
	})
}

// No path leads anywhere but below the folder of a task.
func FuzzPaths(f *testing.F) {
	for _, p := range []string{latest, latest + "/a", latest + "/../../x", "/slaves/oak" + latest + "/stdout", "/tasks/mine.0/1/../../x", "//", "\x00"} {
		f.Add(p)
	}
	s := New(Config{Store: fsm.NewStore(nil), Cluster: solo{}, Host: &fakeHost{dir: "/tasks"}, Log: slog.New(slog.DiscardHandler)})
	s.Assign([]api.Assignment{{Spec: &api.TaskSpec{}, Task: &api.Task{ID: "mine.0", Job: "mine", Attempt: 1, Framework: &api.FrameworkTask{Framework: "f1", ID: "mine"}}}})
	f.Fuzz(func(t *testing.T, name string) {
		c := &exchange.Call{R: httptest.NewRequest(http.MethodGet, "/", nil), ID: auth.Identity{Role: api.RoleAdmin}}
		if p, err := s.place(c, name); err == nil && (!filepath.IsLocal(p.rel) || p.in != "/tasks/mine.0/1") {
			t.Errorf("%q is %q in %q", name, p.rel, p.in)
		}
	})
}
