package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mesita/mesita/integration/lab"
)

// systemctl is as much of systemd as an install needs: it starts the unit's command, and
// tells it that it did.
const systemctl = `#!/bin/sh
case "$1" in
is-system-running) echo running ;;
start)
	[ ! -e "$(dirname "$0")/broken" ] || { echo "Job for mesita.service failed." >&2; exit 1; }
	cmd=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/mesita.service)
	setsid sh -c "export INVOCATION_ID=x SYSTEMD_EXEC_PID=\$\$; exec $cmd" > "$(dirname "$0")/log" 2>&1 < /dev/null &
	;;
esac
`

// A node that was started by hand is handed over to systemd as it was started, and its
// tasks run on; where systemd does not start it, it runs again as before.
func TestInstallTakesARunningNodeOver(t *testing.T) {
	l := newLab(t, 1)
	n := l.Nodes[0]
	data, tools := n.Dir+"/data", t.TempDir()
	for name, text := range map[string]string{"systemctl": systemctl, "systemd-sysusers": "#!/bin/sh\n"} {
		if err := os.WriteFile(filepath.Join(tools, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	inside := []string{"--net=/run/netns/" + n.NS}
	start := exec.Command("nsenter", append(inside, n.Bin, "--socket", n.Socket, "node", "start", "--name", n.Name, "--data",
		data, "--listen", n.IP+":5050", "--slice", n.Slice(),
		"--resources", "cpus=3,mem=2GiB,disk=2GiB", "--attr", "rack=a b", "--log-level", "warn")...)
	if out, err := start.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	daemon := func() int {
		pid, _ := strconv.Atoi(strings.TrimSpace(string(must(os.ReadFile(data + "/lock")))))
		return pid
	}
	t.Cleanup(func() { _ = syscall.Kill(daemon(), syscall.SIGKILL) }) // it may have ended
	n.Submit(sleeper("on", 1))
	settled(l, n, "on", 1)
	task := n.Running("on")[0]
	// The unit is written to a folder of this command's own.
	install := func() (string, error) {
		sh := "mount -t tmpfs none /etc/systemd && mkdir -p /etc/sysusers.d && mount -t tmpfs none /etc/sysusers.d && exec \"$@\""
		cmd := exec.Command("nsenter", append(inside, "unshare", "-m", "sh", "-c", sh, "sh", n.Bin, "--socket", n.Socket, "node",
			"install", "--data", data)...)
		cmd.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	same := func(when string, old int) {
		t.Helper()
		l.Await(lab.Patience, when+" it runs the task", func() bool { return len(n.Running("on")) == 1 })
		now := n.Running("on")[0]
		if now.ID != task.ID || now.PID != task.PID || now.Attempt != task.Attempt {
			t.Errorf("%s the task did not run on: %+v", when, now)
		}
		if daemon() == old {
			t.Errorf("%s the daemon is the same", when)
		}
		for _, m := range n.Members() {
			if m.Resources.CPUs != 3000 || m.Attrs["rack"] != "a b" {
				t.Errorf("%s it has %s and %v", when, m.Resources, m.Attrs)
			}
		}
	}
	if err := os.WriteFile(tools+"/broken", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := daemon()
	if out, err := install(); err == nil || !strings.Contains(out, "so it is started as before") {
		t.Fatalf("systemd is broken: %v: %s", err, out)
	}
	same("after a start that failed", old)
	if err := os.Remove(tools + "/broken"); err != nil {
		t.Fatal(err)
	}
	old = daemon()
	if out, err := install(); err != nil || !strings.Contains(out, "systemd runs "+n.Name+" now") {
		t.Fatalf("%v: %s", err, out)
	}
	same("handed over", old)
	if _, errs, code := n.CLI("node", "stop"); code != 5 || !strings.Contains(errs, "systemctl stop mesita") {
		t.Errorf("stopped beside systemd: %d, %s", code, errs)
	}
	// A unit that starts beside it ends with the code at which systemd does not try again.
	second := exec.Command("nsenter", append(inside, n.Bin, "node", "start", "--foreground", "--data", data)...)
	if out, err := second.CombinedOutput(); second.ProcessState.ExitCode() != 5 {
		t.Errorf("beside it: %v: %s", err, out)
	}
	if again, err := install(); err != nil || !strings.Contains(again, "systemd runs this node already") {
		t.Errorf("installed again: %v: %s", err, again)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		return nil
	}
	return b
}
