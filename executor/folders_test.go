package executor_test

import (
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/runtimetest"
)

func submission(as api.Assignment, n uint64) api.Assignment {
	as.Submission = n
	return as
}

func inodeOf(fi os.FileInfo) uint64 { return fi.Sys().(*syscall.Stat_t).Ino }

// inodes are those of an attempt's own folders, which are held so that no other folder
// has them later.
func (n *node) inodes(id string) (out []uint64) {
	n.t.Helper()
	starts := n.rt.Started()
	i := slices.IndexFunc(starts, func(r keeper.StartRequest) bool { return r.ID == id })
	if i < 0 {
		n.t.Fatalf("%s did not start", id)
	}
	for _, dir := range []string{starts[i].Dir, starts[i].Temporary} {
		f, err := os.Open(dir)
		if err != nil {
			n.t.Fatal(err)
		}
		n.t.Cleanup(func() { f.Close() })
		fi, err := f.Stat()
		if err != nil {
			n.t.Fatal(err)
		}
		if names, err := f.Readdirnames(-1); err != nil || len(names) > 0 {
			n.t.Errorf("%s of %s has %q at first, %v", dir, id, names, err)
		}
		out = append(out, inodeOf(fi))
	}
	return out
}

// What an attempt left of its folders as it was is used again by a later one of its
// job, and by nobody else: not by a job of its name or by another version, nor by a
// task that is less confined, nor where processes of the earlier one may be left.
func TestFoldersAreUsedAgainInTheJob(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the folders are root's")
	}
	bubble(t, func(t *testing.T, n *node) {
		left := map[string]bool{}
		n.rt.Plan = func(r keeper.StartRequest) runtimetest.Plan { return runtimetest.Plan{Left: left[r.ID]} }
		run := func(as api.Assignment) []uint64 {
			t.Helper()
			id := as.Task.ID + "/1"
			n.Assign(set(as))
			settle()
			ino := n.inodes(id)
			n.rt.Exit(id, 0, 0)
			settle()
			return ino
		}
		first := run(submission(assignment("a", 1, 1, batch), 5))
		version := func(tk *api.Task, _ *api.JobSpec) { tk.Version++ }
		partition := func(tk *api.Task, _ *api.JobSpec) { tk.Partition = "ml" }
		free := func(_ *api.Task, s *api.JobSpec) { s.HostPIDs = true }
		open := func(_ *api.Task, s *api.JobSpec) { s.Unconfined = []string{api.PartSystem} }
		for what, as := range map[string]api.Assignment{
			"a later job of that name": submission(assignment("a", 2, 1, batch), 6),
			"who is not known":         assignment("a", 3, 1, batch),
			"another version":          submission(assignment("a", 4, 1, batch, version), 5),
			"another partition":        submission(assignment("a", 5, 1, batch, partition), 5),
			"one among all processes":  submission(assignment("a", 6, 1, batch, free), 5),
			"one that is let out":      submission(assignment("a", 7, 1, batch, open), 5),
		} {
			for i, ino := range run(as) {
				if slices.Contains(first, ino) {
					t.Errorf("%s has folder %d of the job", what, i)
				}
			}
		}
		equal(t, "the job's next", run(submission(assignment("a", 8, 1, batch), 5)), first)

		left["a.9/1"] = true
		rest := run(submission(assignment("a", 9, 1, batch), 5))
		equal(t, "the job's next", rest, first)
		for _, ino := range run(submission(assignment("a", 10, 1, batch), 5)) {
			if slices.Contains(rest, ino) {
				t.Error("one of which processes may be left is used again")
			}
		}
	})
}

// What is kept for a job goes once nothing of it comes any more, and the executor is
// idle then.
func TestKeptFoldersGoWithTheirJob(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the folders are root's")
	}
	bubble(t, func(t *testing.T, n *node) {
		had := map[uint64]bool{}
		var all []api.Assignment
		for i := range 20 {
			all = append(all, submission(assignment("a", i+1, 1, batch), 5))
		}
		n.Assign(all)
		settle()
		for _, as := range all {
			for _, ino := range n.inodes(as.Task.ID + "/1") {
				had[ino] = true
			}
			n.rt.Exit(as.Task.ID+"/1", 0, 0)
		}
		there := func() (count int) {
			t.Helper()
			for _, kind := range []string{"tasks", "tmp"} {
				dirs, err := os.ReadDir(n.dir + "/" + kind)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range dirs {
					fi, err := d.Info()
					if err != nil {
						t.Fatal(err)
					}
					if had[inodeOf(fi)] {
						count++
					}
				}
			}
			return count
		}
		settle()
		if now := there(); now != 2*len(all) {
			t.Errorf("%d of %d are kept", now, 2*len(all))
		}
		pass(5 * time.Minute)
		settle()
		if now := there(); now != 0 {
			t.Errorf("%d are left", now)
		}
	})
}
