package keeper_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/executor/logs"
	"github.com/mesita/mesita/isolation"
)

// The parent of all tasks is the last to be killed for memory, where a process
// may ask for that, and its tasks are killed as before.
func TestTheKeeperIsSpared(t *testing.T) {
	var set [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &set[0]); err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSpace(string(own))
	if set[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0 {
		want = strconv.Itoa(isolation.KeeperScore)
	}
	r := newRig(t)
	c := r.client()
	c.start("a.0/1", "/bin/sh", "-c", "cat /proc/self/oom_score_adj")
	c.exit("a.0/1")
	if got := r.output("a.0/1", logs.Options{}); got != "0\n" {
		t.Errorf("a task's score is %s", got)
	}
	pid, err := os.ReadFile(filepath.Join(r.cfg.Dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(fmt.Sprintf("/proc/%s/oom_score_adj", strings.TrimSpace(string(pid))))
	if err != nil || strings.TrimSpace(string(got)) != want {
		t.Errorf("the keeper's score is %s and not %s, %v", got, want, err)
	}
}
