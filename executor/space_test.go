package executor_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/executor"
)

const mib = 1 << 20

// fill writes to a file of a task, and has it on disk: some count it only then.
func fill(t *testing.T, path string, size int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes.Repeat([]byte("x"), size)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// onDisk is a node of whose disk 64 MiB are kept free.
func onDisk(t *testing.T, free *atomic.Int64, f func(n *node)) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.cfg = func(c *executor.Config) {
			c.DiskReserve = 64 * mib
			c.DiskFree = func(string) (int64, int64, error) { return free.Load(), 200 << 30, nil }
		}
		n.start()
		defer func() { n.stop() }()
		f(n)
	})
}

// Where less is free than what is kept for the node, the task ends that filled the disk
// since there was more, and not the one that has the most, with all that it had there;
// others continue, and start again once there is room.
func TestWhoFillsTheDiskIsEnded(t *testing.T) {
	var free atomic.Int64
	free.Store(100 << 30)
	onDisk(t, &free, func(n *node) {
		folder := func(index string) string { return filepath.Join(n.dir, "tasks", "web."+index+".1") }
		n.Assign(set(assignment("web", 0, 1), assignment("web", 1, 1), assignment("web", 2, 1)))
		settle()
		fill(t, filepath.Join(folder("0"), "old"), 8*mib)
		free.Store(100 * mib)
		pass(11 * time.Second)
		equal(t, "alive with less", n.rt.Alive(), []string{"web.0/1", "web.1/1", "web.2/1"})
		fill(t, filepath.Join(folder("1"), "new"), 4*mib)
		fill(t, filepath.Join(folder("2"), "little"), mib/2)
		free.Store(50 * mib)
		pass(time.Second)
		settle()
		equal(t, "alive", n.rt.Alive(), []string{"web.0/1", "web.2/1"})
		equal(t, "who filled it", n.sink.states("web.1"), []string{"1 TASK_RUNNING", "1 TASK_FAILED disk_full"})
		if m := n.sink.last("web.1").Message; !strings.Contains(m, "4MiB") || !strings.Contains(m, "50MiB was free, and 64MiB is kept") || !strings.Contains(m, "--disk-reserve") {
			t.Error(m)
		}
		if _, err := os.Stat(folder("1")); !os.IsNotExist(err) {
			t.Errorf("what it had is there: %v", err)
		}
		// Nobody else grows: nobody else ends, however long there is too little.
		pass(time.Hour)
		equal(t, "alive later", n.rt.Alive(), []string{"web.0/1", "web.2/1"})
		free.Store(100 << 30)
		pass(11 * time.Second)
		n.Assign(set(assignment("web", 0, 1), assignment("web", 1, 2), assignment("web", 2, 1)))
		settle()
		equal(t, "alive at last", n.rt.Alive(), []string{"web.0/1", "web.1/2", "web.2/1"})
	})
}

// What ended tasks left, which is kept for a while for whoever wants to look at it, goes
// before that where the disk is full.
func TestWhatIsKeptMakesRoom(t *testing.T) {
	var free atomic.Int64
	free.Store(100 << 30)
	onDisk(t, &free, func(n *node) {
		n.rt.Plan = soonOver("b.0/1")
		n.Assign(set(assignment("b", 0, 1, batch), assignment("web", 0, 1)))
		settle()
		left := filepath.Join(n.dir, "tasks", "b.0.1")
		fill(t, filepath.Join(left, "result"), mib)
		// Files have times of the real clock, far ahead of the bubble's.
		if err := os.Chtimes(left, time.Now(), time.Now()); err != nil {
			t.Fatal(err)
		}
		pass(30 * time.Second)
		if _, err := os.Stat(left); err != nil {
			t.Fatal(err)
		}
		free.Store(50 * mib)
		pass(30 * time.Second)
		settle()
		if _, err := os.Stat(left); !os.IsNotExist(err) {
			t.Errorf("it is there: %v", err)
		}
		equal(t, "alive", n.rt.Alive(), []string{"web.0/1"})
	})
}
