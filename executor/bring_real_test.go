package executor_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
)

func fetching(fs ...api.Fetch) func(*api.Task, *api.JobSpec) {
	return func(_ *api.Task, s *api.JobSpec) { s.Fetch = fs }
}

func as(user string) func(*api.Task, *api.JobSpec) {
	return func(_ *api.Task, s *api.JobSpec) { s.User = user }
}

func tgz(t *testing.T, name, content string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A task finds what it has fetched in its folder as it starts, its own, and unpacked; the
// program that it runs may be among it.
func TestRealFetch(t *testing.T) {
	r := newReal(t)
	pack := tgz(t, "etc/app.conf", "packed\n")
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/run" {
			_, _ = io.WriteString(w, "#!/bin/sh\ncat etc/app.conf; stat --format=%U run; cat local; echo $MESITA_FETCH_ORDER; ls\n")
			return
		}
		_, _ = w.Write(pack) // who asked may have left
	}))
	defer web.Close()
	local := filepath.Join(r.dir, "local")
	if err := os.WriteFile(local, []byte("of the node\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	letPass(t, local)
	r.Assign(set(assignment("f", 0, 1, batch, as("nobody"), command("./run"), func(_ *api.Task, s *api.JobSpec) { s.Unconfined = []string{api.PartTmp} },
		fetching(api.Fetch{URI: web.URL + "/run?secret", Executable: true, Extract: true}, api.Fetch{URI: web.URL + "/app.tgz", Extract: true}, api.Fetch{URI: "file://" + local, Extract: true}))))
	r.state("f.0", api.TaskFinished)
	if got, want := r.log("f.0", executor.LogOptions{Follow: true}), "packed\nnobody\nof the node\n\napp.tgz\netc\nlocal\nrun\n"; got != want {
		t.Errorf("it says %q, not %q", got, want)
	}
}

// letPass lets everybody come to a file of a test.
func letPass(t *testing.T, file string) {
	for dir := filepath.Dir(file); strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
}

// What cannot be fetched fails the task before it starts, and says which URI and why, and
// not what is secret in it. Files are read as the task's user, where the task sees them.
func TestRealFetchFails(t *testing.T) {
	r := newReal(t)
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	secret := filepath.Join(r.dir, "secret")
	if err := os.WriteFile(secret, []byte("of root\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	letPass(t, secret)
	ours := filepath.Join(r.dir, "executor", "journal.db")
	inTemp := func(_ *api.Task, s *api.JobSpec) { s.Unconfined = []string{api.PartTmp} }
	with := strings.Replace(web.URL, "http://", "http://who:secret@", 1)
	for i, c := range []struct {
		uri, user, want string
	}{
		{with + "/a?key=secret", "nobody", "fetch " + web.URL + "/a: the server answered 404 Not Found"},
		{secret, "nobody", "fetch " + secret + ": the task's user cannot read it on this node, where the task would see it: permission denied"},
		{"file://" + ours, "root", "fetch file://" + ours + ": the task's user cannot read it on this node, where the task would see it: no such file or directory"},
		{"file:///dev/zero", "nobody", "fetch file:///dev/zero: it is not a file"},
	} {
		r.Assign(set(assignment("f", i, 1, batch, as(c.user), inTemp, fetching(api.Fetch{URI: c.uri}))))
		st := r.state(api.TaskID("f", i), api.TaskFailed)
		if st.Reason != api.ReasonFetchFailed || st.Message != c.want || st.PID != 0 {
			t.Errorf("%s: %+v, not %q", c.uri, st, c.want)
		}
	}
}

// A task that is stopped while it waits for its files is not waited for, and a daemon that
// starts again begins anew what its predecessor did not see to its end.
func TestRealFetchInterrupted(t *testing.T) {
	r := newReal(t)
	var asked atomic.Int32
	gate := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		n := asked.Add(1)
		w.(http.Flusher).Flush()
		if n > 1 {
			fmt.Fprint(w, "late")
			return
		}
		select {
		case <-gate:
		case <-q.Context().Done():
		}
	}))
	defer web.Close()
	defer close(gate)
	task := func(change ...func(*api.Task, *api.JobSpec)) []api.Assignment {
		return set(assignment("f", 0, 1, append(change, batch, as("nobody"), command("cat", "file"), fetching(api.Fetch{URI: web.URL + "/file"}))...))
	}
	r.Assign(task())
	r.until("the file is asked for", func() bool { return asked.Load() == 1 })
	r.stop()
	r.start()
	r.Assign(task())
	r.state("f.0", api.TaskFinished)
	if got := r.log("f.0", executor.LogOptions{Follow: true}); got != "late" {
		t.Errorf("it says %q", got)
	}
	asked.Store(0)
	again := func(_ *api.Task, s *api.JobSpec) { s.Name = "g" }
	r.Assign(set(assignment("g", 0, 1, again, batch, fetching(api.Fetch{URI: web.URL + "/file"}))))
	r.until("the file is asked for", func() bool { return asked.Load() == 1 })
	r.Assign(set(assignment("g", 0, 1, again, batch, stopped, fetching(api.Fetch{URI: web.URL + "/file"}))))
	r.state("g.0", api.TaskKilled)
	r.until("what fetched it ends", func() bool {
		all, err := r.rt.Running(t.Context())
		return err == nil && len(all) == 0
	})
	left, err := filepath.Glob(filepath.Join(r.dir, "executor", "fetch", "*.fetch-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// Fetchers are few at a time, and those of one framework leave room for another's.
func TestRealFetchersAreFew(t *testing.T) {
	r := newReal(t)
	var now, most, asked atomic.Int32
	gate := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		asked.Add(1)
		w.(http.Flusher).Flush()
		if q.URL.Path == "/slow" {
			<-gate
		}
		fmt.Fprint(w, "it is here")
	}))
	defer web.Close()
	of := func(framework, path string) func(*api.Task, *api.JobSpec) {
		return func(k *api.Task, s *api.JobSpec) {
			k.Framework = &api.FrameworkTask{Framework: framework}
			s.Fetch = []api.Fetch{{URI: web.URL + path}}
		}
	}
	var all [][]api.Assignment
	for i := range 6 {
		all = append(all, set(assignment("f", i, 1, batch, as("nobody"), command("true"), of("one", "/slow"))))
	}
	all = append(all, set(assignment("g", 0, 1, batch, as("nobody"), command("true"), of("other", "/file"))))
	r.Assign(slices.Concat(all...))
	r.state("g.0", api.TaskFinished)
	if n := most.Load(); n > 5 || asked.Load() > 5 {
		t.Errorf("%d fetched at a time", n)
	}
	close(gate)
	for i := range 6 {
		r.state(api.TaskID("f", i), api.TaskFinished)
	}
}

// What fetches is the program of the daemon, whatever is at its place.
func TestRealFetcherIsOurs(t *testing.T) {
	r := newReal(t)
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.dir, "executor", "fetch", "mesita")
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Truncate(path, own.Size()), os.Chtimes(path, own.ModTime(), own.ModTime())); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ours") }))
	defer web.Close()
	r.Assign(set(assignment("f", 0, 1, batch, as("nobody"), command("cat", "file"), fetching(api.Fetch{URI: web.URL + "/file"}))))
	r.state("f.0", api.TaskFinished)
}
