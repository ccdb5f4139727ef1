package journal_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/journal"
)

// opened is a journal that is being written.
type opened struct {
	*journal.Journal
	close func()
}

func open(t testing.TB, path string) (opened, []journal.Entry) {
	t.Helper()
	j, past, err := journal.Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- j.Run(ctx) }()
	return opened{j, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}}, past
}

func assignment(index, version int) *api.Assignment {
	s := &api.JobSpec{Name: "web", Kind: api.KindService, TaskSpec: api.TaskSpec{Command: []string{"sleep", fmt.Sprint(version)}}}
	s.Normalize()
	return new(api.Assigned(&api.Task{ID: api.TaskID("web", index), Job: "web", Index: index, Version: version, Attempt: 1}, s))
}

func TestSurvivesRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j, past := open(t, path)
	if len(past) != 0 {
		t.Fatalf("entries of a new journal: %v", past)
	}
	for i := range 3 {
		j.Put(api.TaskID("web", i), assignment(i, 1), journal.Record{Attempt: 1}, nil)
	}
	j.Put("web.0", nil, journal.Record{Phase: journal.Running, Attempt: 1, PID: 42}, nil)
	j.Put("web.1", assignment(1, 2), journal.Record{Attempt: 2}, nil)
	j.Remove("web.2")
	j.close()
	j, past = open(t, path)
	if len(past) != 2 {
		t.Fatalf("%d entries, want 2", len(past))
	}
	for _, e := range past {
		switch e.ID {
		case "web.0":
			if e.Record.Phase != journal.Running || e.Record.PID != 42 || e.Assignment.Spec.Command[1] != "1" {
				t.Errorf("entry %+v", e)
			}
		case "web.1":
			if e.Record.Attempt != 2 || e.Assignment.Spec.Command[1] != "2" || e.Assignment.Spec.StopGrace != api.DefaultStopGrace {
				t.Errorf("entry %+v", e)
			}
		}
	}
	// Specs go with the last task that has them.
	j.Remove("web.0")
	j.Put("web.1", assignment(1, 3), journal.Record{Attempt: 3}, nil)
	j.close()
	j, past = open(t, path)
	defer j.close()
	if len(past) != 1 || past[0].Assignment.Spec.Command[1] != "3" {
		t.Fatalf("entries %+v", past)
	}
}

// TestSoon: what can wait does, for company, but not for long.
func TestSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "journal.db")
		j, _ := open(t, path)
		begun := time.Now()
		took := make(chan time.Duration, 3)
		done := func(err error) {
			if err != nil {
				t.Error(err)
			}
			took <- time.Since(begun)
		}
		j.PutSoon("web.0", assignment(0, 1), journal.Record{Attempt: 1}, done)
		if d := <-took; d != 25*time.Millisecond {
			t.Errorf("alone, it was written after %s", d)
		}
		begun = time.Now()
		j.PutSoon("web.1", assignment(1, 1), journal.Record{Attempt: 1}, done)
		j.Put("web.2", assignment(2, 1), journal.Record{Attempt: 1}, done)
		if a, b := <-took, <-took; a != 0 || b != 0 {
			t.Errorf("together with one that cannot wait, they were written after %s and %s", a, b)
		}
		j.PutSoon("web.0", nil, journal.Record{Attempt: 1, Phase: journal.Ended}, nil)
		j.close() // writes what waits
		j, past := open(t, path)
		defer j.close()
		if len(past) != 3 || past[0].Record.Phase != journal.Ended {
			t.Errorf("entries %+v", past)
		}
	})
}

func TestInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j, _ := open(t, path)
	defer j.close()
	if _, _, err := journal.Open(path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("error %v", err)
	}
}

// BenchmarkGroupCommit is a thousand tasks through three records each.
func BenchmarkGroupCommit(b *testing.B) {
	j, _ := open(b, filepath.Join(b.TempDir(), "journal.db"))
	defer j.close()
	for b.Loop() {
		for _, phase := range []journal.Phase{journal.Assigned, journal.Running, journal.Ended} {
			var wg sync.WaitGroup
			for i := range 1000 {
				wg.Add(1)
				var a *api.Assignment
				if phase == journal.Assigned {
					a = assignment(i, 1)
				}
				j.Put(api.TaskID("web", i), a, journal.Record{Phase: phase, Attempt: 1, PID: 77}, func(error) { wg.Done() })
			}
			wg.Wait()
		}
	}
}

// A spec that changed under the same version, as a limit and the time to stop may, is as it
// was written last.
func TestSpecThatChangedIsKept(t *testing.T) {
	for name, of := range map[string]*api.FrameworkTask{"of a job": nil, "of a framework": {ID: "task"}} {
		path := filepath.Join(t.TempDir(), "journal.db")
		j, _ := open(t, path)
		for _, grace := range []time.Duration{time.Minute, time.Second} {
			a := assignment(0, 1)
			a.Task.Framework = of
			a.Spec = &api.TaskSpec{Command: []string{"sleep"}, StopGrace: api.Duration(grace)}
			j.Put(a.Task.ID, a, journal.Record{Attempt: 1}, nil)
		}
		j.close()
		j, past := open(t, path)
		if len(past) != 1 || past[0].Assignment.Spec.StopGrace != api.Duration(time.Second) {
			t.Errorf("%s: %+v", name, past[0].Assignment.Spec)
		}
		j.close()
	}
}

// Tasks of a framework are of one job and have no spec in common: each keeps its own, while
// those of other jobs share one, and a spec goes with the last task that has it.
func TestEachTaskOfAFrameworkKeepsItsSpec(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j, _ := open(t, path)
	const tasks = 3
	for i := range tasks {
		a := assignment(i, 1)
		a.Task.Framework = &api.FrameworkTask{ID: fmt.Sprint("task ", i)}
		a.Spec = &api.TaskSpec{Command: []string{"sleep", fmt.Sprint(i)}}
		j.Put(a.Task.ID, a, journal.Record{Attempt: 1}, nil)
	}
	j.close()
	j, past := open(t, path)
	for _, e := range past {
		if got, want := e.Assignment.Spec.Command[1], fmt.Sprint(e.Assignment.Task.Index); got != want {
			t.Errorf("%s has the spec of task %s", e.ID, got)
		}
	}
	if len(past) != tasks {
		t.Errorf("%d entries, want %d", len(past), tasks)
	}
	j.Remove(api.TaskID("web", 0))
	j.close()
	j, past = open(t, path)
	defer j.close()
	if len(past) != tasks-1 {
		t.Errorf("%d entries, want %d", len(past), tasks-1)
	}
}
