package executor_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
)

func volumesAt(user string, mounts ...api.VolumeMount) func(*api.Task, *api.JobSpec) {
	return func(_ *api.Task, s *api.JobSpec) { s.User, s.Volumes = user, mounts }
}

// What a task leaves in a volume is there for the next one, whoever that runs as, also after a
// restart of the daemon and for what runs beside it; no other task comes to it, and what is not
// a volume any more is gone, also if that was told while no daemon was there.
func TestRealVolumes(t *testing.T) {
	r := newReal(t)
	const mine, other = "0123456789abcdef-7", "fedcba9876543210-8"
	at := api.VolumeMount{Reservation: "0123456789abcdef", Path: "var/data", Folder: mine}
	folder := func(name string) string { return filepath.Join(r.dir, "executor", "volumes", name) }
	r.KeepVolumes([]string{mine, other}, 8)
	run := func(name, user, line string, mounts ...api.VolumeMount) string {
		t.Helper()
		r.Assign(set(assignment(name, 0, 1, batch, command("sh", "-c", line), volumesAt(user, mounts...))))
		r.state(name+".0", api.TaskFinished)
		return r.log(name+".0", executor.LogOptions{Follow: true})
	}
	run("first", api.TaskUser, "mkdir var/data/deep && echo one > var/data/deep/file && ln -s /etc/shadow var/data/link", at)
	if got := run("second", api.TaskUser, "cat var/data/deep/file && echo two >> var/data/deep/file && ls var/data", at); got != "one\ndeep\nlink\n" {
		t.Errorf("the second one finds %q", got)
	}
	if fi, err := os.Stat("/etc/shadow"); err != nil || fi.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("what a link leads to is another's now: %v, %v", fi, err)
	}
	if got := run("stranger", api.TaskUser, "cat "+folder(mine)+"/deep/file 2>/dev/null || echo no"); got != "no\n" {
		t.Errorf("one without it finds %q", got)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "brought") }))
	defer web.Close()
	r.Assign(set(assignment("both", 0, 1, batch, command("sh", "-c", "cat fetched var/data/deep/file"), volumesAt(api.TaskUser, at), fetching(api.Fetch{URI: web.URL + "/fetched"}))))
	r.state("both.0", api.TaskFinished)
	if got := r.log("both.0", executor.LogOptions{Follow: true}); got != "brought\none\ntwo\n" {
		t.Errorf("one that fetches, too, finds %q", got)
	}
	r.stop()
	r.start()
	r.KeepVolumes([]string{mine, other}, 8)
	lasts := assignment("third", 0, 1, command("sh", "-c", "cat var/data/deep/file; exec sleep 1000"),
		volumesAt("nobody", at, api.VolumeMount{Reservation: "fedcba9876543210", Path: "more", Folder: other}))
	r.Assign(set(lasts))
	r.state("third.0", api.TaskRunning)
	r.until("it reads what the others wrote", func() bool { return r.log("third.0", executor.LogOptions{}) == "one\ntwo\n" })
	var beside bytes.Buffer
	code, err := r.Exec(t.Context(), executor.ExecRequest{Task: "third.0", Command: []string{"sh", "-c", "echo x > more/x && cat more/x"}, Stdout: &beside})
	if err != nil || code != 0 || beside.String() != "x\n" {
		t.Errorf("beside it: %d, %v: %q", code, err, beside.String())
	}
	r.Assign(nil)
	r.until("it ends", func() bool { return r.sink.last("third.0").State.Final() })
	r.KeepVolumes([]string{mine}, 9)
	gone := func(name string) {
		t.Helper()
		r.until("the volume is removed", func() bool {
			left, err := filepath.Glob(folder("*"))
			if err != nil {
				t.Fatal(err)
			}
			_, there := os.Stat(folder(name))
			return os.IsNotExist(there) && len(left) <= 1
		})
	}
	gone(other)
	if b, err := os.ReadFile(folder(mine) + "/deep/file"); err != nil || string(b) != "one\ntwo\n" {
		t.Errorf("the other one has %q, %v", b, err)
	}
	r.stop()
	r.start()
	if _, err := os.Stat(folder(mine)); err != nil {
		t.Errorf("nothing goes before the cluster said what there is: %v", err)
	}
	r.KeepVolumes([]string{}, 10)
	gone(mine)
}
