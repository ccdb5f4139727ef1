package executor_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
)

// What a task had fetched to be kept is there for those that begin with it or later, also
// once its server is gone, and for no other user or partition; each task may do with its
// own what it likes.
func TestRealFetchKept(t *testing.T) {
	r := newReal(t)
	var asked atomic.Int32
	gate := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodGet {
			asked.Add(1)
			<-gate
		}
		w.Header().Set("Content-Length", "8")
		fmt.Fprint(w, "as sent\n")
	}))
	defer web.Close()
	file := api.Fetch{URI: web.URL + "/file", Cache: true}
	spoil := command("/bin/sh", "-c", "cat file; stat --format=%U file; echo bad >file; ls -A")
	var all [][]api.Assignment
	for i := range 3 {
		all = append(all, set(assignment("f", i, 1, batch, as("nobody"), spoil, fetching(file))))
	}
	r.Assign(slices.Concat(all...))
	r.until("the file is asked for", func() bool { return asked.Load() == 1 })
	close(gate)
	says := func(task, user string) {
		t.Helper()
		r.state(task, api.TaskFinished)
		if got, want := r.log(task, executor.LogOptions{Follow: true}), "as sent\n"+user+"\nfile\n"; got != want {
			t.Errorf("%s says %q, not %q", task, got, want)
		}
	}
	for i := range 3 {
		says(api.TaskID("f", i), "nobody")
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("it was asked for %d times", n)
	}
	r.Assign(set(assignment("g", 0, 1, batch, as("daemon"), spoil, fetching(file))))
	says("g.0", "daemon")
	if n := asked.Load(); n != 2 {
		t.Errorf("another user had what it did not fetch: asked %d times", n)
	}
	web.Close()
	r.Assign(set(assignment("h", 0, 1, batch, as("nobody"), spoil, fetching(file))))
	says("h.0", "nobody")
	r.Assign(set(assignment("i", 0, 1, batch, as("bin"), spoil, fetching(file))))
	r.state("i.0", api.TaskFailed)
	kept, err := os.ReadDir(filepath.Join(r.dir, "executor", "kept"))
	if err != nil || len(kept) != 2 {
		t.Errorf("kept is %v, %v", kept, err)
	}
}

// Those that wait for one that fetches what is to be kept fetch on their own if that fails,
// and one of them at a time if it is stopped.
func TestRealFetchKeptFails(t *testing.T) {
	r := newReal(t)
	var asked atomic.Int32
	gate := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			<-gate
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "there")
	}))
	defer web.Close()
	file := fetching(api.Fetch{URI: web.URL + "/file", Cache: true})
	r.Assign(set(assignment("f", 0, 1, batch, as("nobody"), command("cat", "file"), file)))
	r.until("the file is asked for", func() bool { return asked.Load() == 1 })
	r.Assign(slices.Concat(set(assignment("f", 0, 1, batch, as("nobody"), command("cat", "file"), file)), set(assignment("f", 1, 1, batch, as("nobody"), command("cat", "file"), file))))
	close(gate)
	r.state("f.0", api.TaskFailed)
	r.state("f.1", api.TaskFinished)
}
