package integration

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// checked is a script that fails unless all of its files are as they were when the job
// was written; then it waits.
const checked = `#!/bin/sh
set -e
sha256sum --quiet -c etc/sums
test ! -x etc/app.conf
echo "$MESITA_TASK_ID has $(cat etc/app.conf)"
exec sleep 1000
`

// A script with its configuration needs nothing on the nodes: it starts on all of them,
// though daemons are killed while they fetch, and again where its node is lost.
func TestFilesBesideAJob(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	dir := t.TempDir()
	large := make([]byte, 48<<20)
	_, _ = rand.Read(large) // it never fails
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("run.sh", checked, 0o755)
	write("app.conf", "port=1\n", 0o644)
	write("large", string(large), 0o644)
	write("web.yaml", `name: web
count: 6
command: [./run.sh]
user: nobody
mem: 16MiB
cpus: 0.05
spread: node.name
restart: {delay: 100ms, maxDelay: 1s}
files: {run.sh: run.sh, etc/app.conf: app.conf, etc/large: large, etc/sums: sums}
`, 0o644)
	sums, err := exec.Command("sh", "-c", "cd "+dir+` && sha256sum app.conf large | sed 's,  ,  etc/,'`).Output()
	if err != nil {
		t.Fatal(err)
	}
	write("sums", string(sums), 0o644)
	leader := l.Leader()
	if _, stderr, code := leader.CLI("apply", "--detach", filepath.Join(dir, "web.yaml")); code != 0 {
		t.Fatal(stderr)
	}
	for _, n := range l.Nodes {
		if n != leader { // it fetches what the leader holds
			l.Await(lab.Patience, n.Name+" to fetch", func() bool { return len(incoming(n)) > 0 || len(leader.Running("web")) == 6 })
			n.Kill()
			n.Start()
		}
	}
	l.Await(lab.Patience, "six tasks with all of their files", func() bool { return said(leader, "port=1") == 6 })
	write("app.conf", "port=2\n", 0o644)
	if stdout, stderr, code := leader.CLI("diff", filepath.Join(dir, "web.yaml")); code != 1 || strings.Count(stdout, "files.") != 1 || !strings.Contains(stdout, "files.etc/app.conf: sha256:") {
		t.Errorf("%d %s%s", code, stdout, stderr)
	}
	lost := l.Other(leader)
	lost.PowerOff()
	l.Await(lab.Patience, "the tasks of the lost node elsewhere", func() bool {
		for _, task := range leader.Running("web") {
			if task.Node == lost.Name {
				return false
			}
		}
		return said(leader, "port=1") == 6
	})
	leader.Must("POST", "/v1/jobs/web/stop", nil, nil)
	l.Await(lab.Patience, "no file to be left", func() bool {
		left, err := filepath.Glob(filepath.Join(leader.Dir, "executor", "*", "web.*", "etc", "large"))
		return err == nil && len(left) == 0
	})
}

// incoming are the uploads that a node is fetching.
func incoming(n *lab.Node) []string {
	all, _ := filepath.Glob(filepath.Join(n.Dir, "executor", "blobs", "incoming-*")) // the pattern is right
	return all
}

// said counts the tasks of the job web that run and said so.
func said(n *lab.Node, conf string) (count int) {
	for _, task := range n.Running("web") {
		out, _, code := n.CLI("logs", task.ID)
		if code == 0 && strings.Contains(out, fmt.Sprintf("%s has %s", task.ID, conf)) {
			count++
		}
	}
	return count
}

// What one cluster exports with its programs another one runs, though it never saw them
// and the node that is asked holds none of them.
func TestProgramsMoveBetweenClusters(t *testing.T) {
	l := newLab(t, 3)
	from, second, to := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	from.Start()
	second.Launch("join", from.IP, "--token", from.Token(api.TokenRequest{Kind: api.TokenJoin}))
	second.AwaitReady()
	to.Start()
	dir := t.TempDir()
	script := "#!/bin/sh\necho ran with $(cat app.conf)\n"
	for name, text := range map[string]string{"server": script, "app.conf": "port=7", "jobs.yaml": `name: once
kind: batch
partition: shop
command: [./server, go]
files: {app.conf: app.conf}
---
kind: partition
path: shop
weight: 3
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	must := func(n *lab.Node, args ...string) string {
		t.Helper()
		stdout, stderr, code := n.CLI(args...)
		if code != 0 {
			t.Fatalf("mesita %s: %d %s%s", strings.Join(args, " "), code, stdout, stderr)
		}
		return stdout
	}
	must(from, "apply", "--detach", filepath.Join(dir, "jobs.yaml"))
	from.AwaitJob("once", "ended")
	l.Await(lab.Patience, "the second node to know of the job", func() bool {
		_, _, code := second.CLI("show", "once")
		return code == 0
	})
	out := filepath.Join(dir, "out")
	must(second, "export", "once", "--partition", "shop", "--with-programs", out)
	must(to, "apply", "--detach", out)
	to.AwaitJob("once", "ended")
	if text := must(to, "logs", "once"); strings.TrimSpace(text) != "ran with port=7" {
		t.Errorf("%q", text)
	}
	if text := must(to, "partition", "show", "shop"); !strings.Contains(text, "3") {
		t.Error(text)
	}
	if text := must(from, "apply", "--detach", out); !strings.Contains(text, "batch once v1   unchanged") || !strings.Contains(text, "partition shop   unchanged") {
		t.Error(text)
	}
}
