package isolation

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A process leaves the unit that it was started in, and what it starts is not in
// it either; one that is in no unit stays where it is.
func TestLeaveUnit(t *testing.T) {
	h := newHost(t)
	if h.top == "" {
		t.Skip("no v2 tree")
	}
	keeper := filepath.Join(h.cfg.Root, strings.TrimSuffix(h.cfg.Slice, ".slice")+"-keeper")
	if strings.HasSuffix(h.cfg.Slice, ".slice") {
		keeper += ".slice"
	}
	t.Cleanup(func() { _ = os.Remove(keeper) }) // of a test that failed
	for _, c := range []struct {
		group string
		moves bool
	}{{".service", true}, {".scope/below", true}, {"", false}} {
		dir := filepath.Join(h.cfg.Root, fmt.Sprintf("mesita-test-%d%s", os.Getpid(), c.group))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		at, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		p := exec.Command("sh", "-c", "read go; sleep 1000 & echo $!; wait")
		p.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(at.Fd()), Setpgid: true}
		in, err1 := p.StdinPipe()
		out, err2 := p.StdoutPipe()
		if err1 != nil || err2 != nil || p.Start() != nil {
			t.Fatal(err1, err2)
		}
		group, err := h.LeaveUnit(p.Process.Pid)
		if err != nil || (group != "") != c.moves {
			t.Errorf("%q: moved to %q, %v", c.group, group, err)
		}
		fmt.Fprintln(in)
		var child int
		if _, err := fmt.Fscan(out, &child); err != nil {
			t.Fatal(err)
		}
		want := dir
		if c.moves {
			want = keeper
		}
		for _, pid := range []int{p.Process.Pid, child} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
			if name := strings.TrimPrefix(want, h.cfg.Root); err != nil || !strings.Contains(string(b), "0::"+name+"\n") {
				t.Errorf("%q: %d is in %s, not %s (%v)", c.group, pid, b, name, err)
			}
		}
		if b, err := readFile(keeper, "cpu.weight"); c.moves && err == nil && string(b) != "1000\n" { // where there is a controller
			t.Errorf("%q: the keeper's group weighs %s", c.group, b)
		}
		_ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL)
		_ = p.Wait() // it was killed
		at.Close()
		for d := dir; d != h.cfg.Root; d = filepath.Dir(d) {
			removeGroup(t, d)
		}
		if c.moves {
			removeGroup(t, keeper)
		}
	}
}

// removeGroup removes a group whose processes are ending.
func removeGroup(t *testing.T, dir string) {
	t.Helper()
	eventually(t, dir+" is removed", func() bool { return removeTree(dir) == nil })
}

func TestInUnit(t *testing.T) {
	for file, want := range map[string]bool{
		"0::/\n": false, "": false, "0::/user.slice/user-0.slice/session-4.scope\n": true, "0::/system.slice/mesita.service\n": true, "0::/system.slice/mesita.service/x/y\n": true,
		"0::/kubepods/pod1\n": false, "4:memory:/system.slice/mesita.service\n0::/\n": false, "12:cpu:/\n0::/mesita-keeper.slice\n": false, "0::x": false,
	} {
		if got := inUnit(file); got != want {
			t.Errorf("%q: %v", file, got)
		}
	}
}
