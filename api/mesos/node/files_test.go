package node

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

const latest = "/frameworks/f1/executors/mine/runs/latest"

// sandbox is the folder of task mine, with files and traps in it.
func (w *world) sandbox() string {
	w.t.Helper()
	dir := w.host.Folder("mine.0", 1, nil)
	outside := filepath.Join(w.host.dir, "secret")
	var errs []error
	errs = append(errs, os.WriteFile(outside, []byte("secret"), 0o600), os.MkdirAll(filepath.Join(dir, "sub"), 0o755), os.WriteFile(filepath.Join(dir, "sub", "a"), []byte("hello world"), 0o644),
		os.Symlink(outside, filepath.Join(dir, "link")), os.Symlink("../../..", filepath.Join(dir, "up")), os.Symlink("sub/a", filepath.Join(dir, "own")),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644), os.WriteFile(filepath.Join(dir, "stdout"), []byte("not the log"), 0o644))
	for _, err := range errs {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return dir
}

// The files of a task are read by the path of a run and by that of its folder here, and
// nothing else is, whatever links there are.
func TestFiles(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	w.token = w.newToken("viewer@web")
	dir := w.sandbox()
	w.host.wrote["mine.0-1"] = [2]string{"0123456789", "oops"}
	for _, base := range []string{latest, "/slaves/oak" + latest, "/frameworks/f1/executors/mine/runs/mine.0-1", dir} {
		for path, c := range map[string]struct {
			query  string
			status int
			want   string
		}{
			"/sub/a":        {"&offset=6&length=3", 200, `{"data":"wor","offset":6}`},
			"/sub/../sub/a": {"&offset=0", 200, `{"data":"hello world","offset":0}`},
			"/own":          {"&offset=0&length=5", 200, `{"data":"hello","offset":0}`},
			"/sub/a?":       {"&offset=0", 404, ""},
			"/stdout":       {"&offset=2&length=3", 200, `{"data":"234","offset":2}`},
			"/stderr":       {"&offset=-1", 200, `{"data":"","offset":4}`},
			"/stderr ":      {"", 404, ""},
			"/link":         {"&offset=0", 403, ""},
			"/up/secret":    {"&offset=0", 403, ""},
			"/../../secret": {"&offset=0", 404, ""},
			"/pipe":         {"&offset=0", 400, ""},
			"/sub":          {"&offset=0", 400, ""},
			"/sub/a/b":      {"&offset=0", 404, ""},
			"/nothing":      {"&offset=0", 404, ""},
		} {
			got := w.get("/files/read?path="+url.QueryEscape(base+path)+c.query, c.status)
			if c.want != "" && got != c.want {
				t.Errorf("%s%s: %s", base, path, got)
			}
			if strings.Contains(got, "secret") && !strings.Contains(path, "secret") {
				t.Errorf("%s%s tells it: %s", base, path, got)
			}
		}
	}
	for _, path := range []string{"/etc/passwd", "/frameworks/f1/executors/other/runs/latest/stdout", "/frameworks/f1", "/", ""} {
		status := http.StatusNotFound
		if path == "" {
			status = http.StatusBadRequest
		}
		w.get("/files/read?offset=0&path="+url.QueryEscape(path), status)
	}
	for _, bad := range []string{"offset=x", "offset=-2", "length=x"} {
		w.get("/files/read?path="+url.QueryEscape(latest+"/stdout")+"&"+bad, http.StatusBadRequest)
	}
	var files []map[string]any
	if err := json.Unmarshal([]byte(w.get("/files/browse?path="+url.QueryEscape(latest), http.StatusOK)), &files); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimPrefix(f["path"].(string), latest+"/")+" "+f["mode"].(string)[:1])
	}
	if got := strings.Join(names, ", "); got != "link l, own l, pipe p, stderr -, stdout -, sub d, up l" {
		t.Error(got)
	}
	if got := w.get("/slave(1)/files/download?path="+url.QueryEscape(latest+"/sub/a"), http.StatusOK); got != "hello world" {
		t.Error(got)
	}
	if got := w.get("/files/download?path="+url.QueryEscape(latest+"/stdout"), http.StatusOK); got != "0123456789" {
		t.Error(got)
	}
}

// A hard link to what is not the task's is not read, as the task itself may not be able to.
func TestHardLinks(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("giving a folder away needs root")
	}
	w := newWorld(t, auth.Bearer)
	w.token = w.newToken("viewer@web")
	dir := w.sandbox()
	if err := os.Link(filepath.Join(w.host.dir, "secret"), filepath.Join(dir, "hard")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	w.get("/files/read?offset=0&path="+url.QueryEscape(latest+"/hard"), http.StatusForbidden)
}

// What a log does not have any more reads as zeros: offsets stay what they were. No answer
// is larger than what is asked for, or than 64 KiB.
func TestOffsetsOfALog(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	w.token = w.newToken("viewer@web")
	w.host.wrote["mine.0-1"] = [2]string{"0123456789" + strings.Repeat("x", 1<<20), ""}
	w.host.cut = 4
	read := func(offset uint64, length *uint64) *v1.AgentResponseReadFile {
		var m v1.AgentResponse
		b := w.call(&v1.AgentCall{Type: new(v1.AgentCallTypeReadFile), ReadFile: &v1.AgentCallReadFile{Path: latest + "/stdout", Offset: offset, Length: length}}, http.StatusOK)
		if err := wire.Unmarshal(wire.JSON, []byte(b), &m); err != nil {
			t.Fatal(err)
		}
		return m.ReadFile
	}
	if got := read(2, new(uint64(5))); string(got.Data) != "\x00\x00456" || got.Size != 10+1<<20 {
		t.Errorf("%q of %d", got.Data, got.Size)
	}
	if got := read(0, new(uint64(3))); string(got.Data) != "\x00\x00\x00" {
		t.Errorf("%q", got.Data)
	}
	if got := read(0, nil); len(got.Data) != maxRead {
		t.Errorf("%d bytes", len(got.Data))
	}
	if got := read(1<<63, new(uint64(1<<63))); len(got.Data) != 0 {
		t.Errorf("%d bytes", len(got.Data))
	}
}

// The files of a task that has ended are there as long as it is remembered.
func TestFilesOfTasksThatEnded(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	w.token = w.newToken("viewer@web")
	w.sandbox()
	w.assign("other.0")
	w.get("/files/read?offset=0&path="+url.QueryEscape(latest+"/sub/a"), http.StatusOK)
	for range maxRecent + 5 {
		w.assign("more.0")
		w.assign()
	}
	w.get("/files/read?offset=0&path="+url.QueryEscape(latest+"/sub/a"), http.StatusNotFound)
	if n := len(w.server.recent); n > maxRecent {
		t.Errorf("%d are remembered", n)
	}
}

// Each path that is said to be there is.
func TestPathsThatAreSaid(t *testing.T) {
	w := newWorld(t, auth.Bearer)
	w.token = w.newToken("admin")
	var all []api.Assignment
	for id, f := range map[string]*api.FrameworkTask{"shop.0": nil, "a.0": {Framework: "f1", ID: "50% off"}, "b.0": {Framework: "f1", Executor: "an executor", IsExecutor: true}, "c.0": {Framework: "f1", ID: "c", GroupExecutor: "g"}} {
		if err := os.MkdirAll(w.host.Folder(id, 1, nil), 0o755); err != nil {
			t.Fatal(err)
		}
		all = append(all, api.Assignment{Spec: &api.TaskSpec{}, Task: &api.Task{ID: id, Job: "j", Attempt: 1, NodeID: "oak", Partition: "web", State: api.TaskRunning, Framework: f}})
	}
	w.server.Assign(all)
	var said map[string]string
	if err := json.Unmarshal([]byte(w.get("/files/debug", http.StatusOK)), &said); err != nil || len(said) != len(all) {
		t.Fatalf("%v %v", said, err)
	}
	for path := range said {
		w.get("/files/browse?path="+url.QueryEscape(path), http.StatusOK)
	}
	if got := w.get("/state", http.StatusOK); !strings.Contains(got, `"attributes":{`) {
		t.Error(got)
	}
}
