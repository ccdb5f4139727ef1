package integration

import (
	"bytes"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// with runs the command line against a node as somebody from elsewhere with a
// token.
func with(token string, n *lab.Node, args ...string) (out, errs string, code int) {
	n.T.Helper()
	c := exec.Command("nsenter", append([]string{"--net=/run/netns/" + n.NS, n.Bin}, args...)...)
	c.Env = []string{"HOME=" + n.Dir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "MESITA_ADDR=" + n.IP + ":5050", "MESITA_CA=" + filepath.Join(n.Dir, "ca.crt"), "MESITA_TOKEN=" + token}
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); c.ProcessState == nil {
		n.T.Fatalf("%v", err)
	}
	return stdout.String(), stderr.String(), c.ProcessState.ExitCode()
}

// Who shows a token is root nowhere unless partition and node allow it, whichever
// node it asks; a task stays who it is over a kill of its daemon.
func TestWhoTasksAreOnNodes(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	leader := l.Leader()
	asked := l.Other(leader)
	free := l.Other(leader, asked)
	free.Terminate()
	free.Launch("start", "--allow-root")
	free.AwaitReady()
	leader = l.Leader()
	leader.Must(http.MethodPut, "/v1/partitions/free", map[string]any{"allowRoot": true}, nil)
	leader.Must(http.MethodPut, "/v1/partitions/web", map[string]any{"runAs": "nobody"}, nil)
	leader.Submit(sleeper("roots", 1))
	ci := leader.Token(api.TokenRequest{Kind: api.TokenClient, Name: "ci", Role: api.RoleOperator})
	l.Await(lab.Patience, "a node that allows root", func() bool {
		for _, n := range asked.Members() {
			if n.Attrs[api.AttrAllowRoot] == "yes" {
				return n.Name == free.Name
			}
		}
		return false
	})

	ok := func(args ...string) string {
		t.Helper()
		out, errs, code := with(ci, asked, args...)
		if code != 0 {
			t.Fatalf("%v: %d %s%s", args, code, out, errs)
		}
		return out
	}
	// Root in a task is not root of its node, unless it was let out.
	for _, privileged := range []bool{false, true} {
		code := 0
		j := free.Submit(map[string]any{"kind": "batch", "cpus": 0.1, "mem": "64MiB", "privileged": privileged, "constraints": []string{"node.name=" + free.Name},
			"command": []string{free.Bin, "--socket", free.Socket, "token", "ls"}})
		j = free.AwaitJob(j.ID, "ended")
		for _, task := range free.Tasks(j.ID) {
			if task.ExitCode != nil {
				code = *task.ExitCode
			}
		}
		if (code == 0) != privileged {
			t.Errorf("root in a task calls the socket of its node, privileged: %v: code %d", privileged, code)
		}
	}
	stays := []string{"sh", "-c", "while :; do sleep 1; done"}
	uid := func(task string) int {
		t.Helper()
		n, err := strconv.Atoi(strings.TrimSpace(ok("exec", task, "--", "id", "-u")))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	ok(append([]string{"run", "own", "-c", "node.name=" + free.Name, "--"}, stays...)...)
	was := uid("own.0")
	if was < 61184 || was > 65519 {
		t.Errorf("a task of nobody in particular is %d", was)
	}
	ok(append([]string{"run", "named", "--partition", "web", "--"}, stays...)...)
	if is := uid("named.0"); is != 65534 {
		t.Errorf("a task that shall be nobody is %d", is)
	}
	ok(append([]string{"run", "super", "-n", "3", "--partition", "free", "--user", "root", "--"}, stays...)...)
	for _, task := range leader.Running("super") {
		if is := uid(task.ID); is != 0 || task.Node != free.Name {
			t.Errorf("%s is %d on %s", task.ID, is, task.Node)
		}
	}
	for _, args := range [][]string{{"run", "x", "--user", "root", "--", "true"}, {"run", "x", "--partition", "web", "--user", "root", "--", "true"}, {"exec", "roots.0", "--", "id"}, {"partition", "set", "web", "--allow-root"}} {
		if out, errs, code := with(ci, asked, args...); code != 4 {
			t.Errorf("%v: %d %s%s", args, code, out, errs)
		}
	}
	if len(leader.Tasks("x")) > 0 {
		t.Error("a refused job is there")
	}

	free.Kill()
	free.Start()
	l.Await(lab.Patience, "the node to be back", func() bool { return len(leader.Running("own")) == 1 })
	if is := uid("own.0"); is != was {
		t.Errorf("a task that was %d is %d after a kill of the daemon", was, is)
	}
	if out := ok("why", "own"); !strings.Contains(out, "runs as") || !strings.Contains(out, api.TaskUser) {
		t.Errorf("%s", out)
	}
}
