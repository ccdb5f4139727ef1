package executor_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/mesita/mesita/api"
)

// A journal that is damaged or gone costs nothing that runs, and no end: the
// keeper knows them, and the cluster says which it still wants, also if the
// daemon dies before it said so. What it does not want is ended.
func TestALostJournal(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, path string) error{
		"garbage": func(_ *testing.T, path string) error { return os.WriteFile(path, make([]byte, 32<<10), 0o600) },
		"cut":     func(_ *testing.T, path string) error { return os.Truncate(path, 9000) },
		"gone":    func(_ *testing.T, path string) error { return os.Remove(path) },
		"flipped": func(t *testing.T, path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			const about, flipped = `"phase":1`, `"phase":0`
			if !bytes.Contains(b, []byte(about)) {
				t.Fatal("nothing runs")
			}
			return os.WriteFile(path, bytes.ReplaceAll(b, []byte(about), []byte(flipped)), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *node) {
				loseJournal(t, n, func(path string) error { return lose(t, path) })
				if aside, _ := filepath.Glob(filepath.Join(n.dir, "journal.db.corrupt-*")); len(aside) != 1 && name != "gone" {
					t.Errorf("kept aside: %v", aside)
				}
			})
		})
	}
}

func loseJournal(t *testing.T, n *node, lose func(path string) error) {
	running := func(tk *api.Task, _ *api.JobSpec) { tk.State = api.TaskRunning }
	n.Assign(set(assignment("web", 0, 1), assignment("b", 0, 1, batch), assignment("gone", 0, 1), assignment("halt", 0, 1)))
	settle()
	pid := n.sink.last("web.0").PID
	n.stop()
	n.rt.Exit("b.0/1", 7, 0) // while nobody listens
	if err := lose(filepath.Join(n.dir, "journal.db")); err != nil {
		t.Fatal(err)
	}
	n.start()
	settle()
	n.stop() // nothing was heard of the cluster
	n.start()
	settle()
	equal(t, "alive until it is known what is to run", n.rt.Alive(), []string{"gone.0/1", "halt.0/1", "web.0/1"})
	as := set(assignment("web", 0, 1, running), assignment("b", 0, 1, batch, running), assignment("halt", 0, 1, running, stopped))
	n.Assign(as)
	settle()
	equal(t, "alive", n.rt.Alive(), []string{"web.0/1"})
	if st := n.sink.last("web.0"); st.State != api.TaskRunning || st.PID != pid {
		t.Errorf("web.0 is %+v, want pid %d", st, pid)
	}
	if st := n.sink.last("b.0"); st.State != api.TaskFailed || st.ExitCode == nil || *st.ExitCode != 7 {
		t.Errorf("b.0 is %+v", st)
	}
	if st := n.sink.last("halt.0"); st.State != api.TaskKilled || st.Reason != api.ReasonStopped {
		t.Errorf("halt.0 is %+v", st)
	}
	n.stop() // and it is in the journal again
	n.start()
	n.Assign(as)
	settle()
	equal(t, "alive after another start", n.rt.Alive(), []string{"web.0/1"})
	if st := n.sink.last("web.0"); st.State != api.TaskRunning || len(n.rt.Started()) != 4 {
		t.Errorf("web.0 is %+v; %d starts, want 4", st, len(n.rt.Started()))
	}
	if all, _ := n.rt.Running(t.Context()); len(all) != 1 {
		t.Errorf("the keeper still knows %v", all)
	}
}
