package integration

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mesita/mesita/integration/lab"
)

// What reads continues with -w: it prints again after a change, until Ctrl-C.
func TestWatch(t *testing.T) {
	l := newLab(t, 1)
	n := l.Nodes[0]
	n.Start()
	n.Submit(sleeper("on", 1))
	settled(l, n, "on", 1)
	type watch struct {
		name, out string
		cmd       *exec.Cmd
	}
	var all []*watch
	for _, name := range []string{"ps", "ps on", "job ls", "show on", "show on.0", "why on", "node ls", "node show " + n.Name, "partition ls", "partition show default",
		"token ls", "cluster show", "incidents -a", "events", "top --interval 300ms"} {
		w := &watch{name: name, out: filepath.Join(t.TempDir(), "out")}
		f, err := os.Create(w.out)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w.cmd = exec.Command(n.Bin, append(append([]string{"--socket", n.Socket}, strings.Fields(name)...), "-w")...)
		w.cmd.Stdout, w.cmd.Stderr = f, f
		if err := w.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.cmd.Process.Kill() }) // it ended long ago, if all went well
		all = append(all, w)
	}
	size := func(w *watch) int64 {
		fi, err := os.Stat(w.out)
		if err != nil {
			t.Fatal(err)
		}
		return fi.Size()
	}
	before := map[*watch]int64{}
	for _, w := range all {
		l.Await(lab.Patience, "the first output of "+w.name, func() bool { before[w] = size(w); return before[w] > 0 })
	}
	n.Must(http.MethodPost, "/v1/jobs/on/scale", map[string]any{"count": 2}, nil)
	for _, w := range all {
		l.Await(lab.Patience, "more output of "+w.name, func() bool { return size(w) > before[w] })
	}
	settled(l, n, "on", 2)
	l.Await(lab.Patience, "both tasks in the output", func() bool {
		b, err := os.ReadFile(all[0].out)
		return err == nil && strings.Contains(string(b), "on.1  running")
	})
	for _, w := range all {
		if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
		if err := w.cmd.Wait(); err != nil {
			out, _ := os.ReadFile(w.out)
			t.Errorf("%s, after Ctrl-C: %v\n%s", w.name, err, out)
		}
	}
}
