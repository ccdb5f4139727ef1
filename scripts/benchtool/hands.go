package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// command runs the program as a person does, and says how long that took and how much
// processor time of its own.
func (n *node) command(args ...string) (took, own time.Duration, err error) {
	cmd := exec.Command(n.bin, args...)
	cmd.Env = append(os.Environ(), "MESITA_SOCKET="+n.socket)
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	took = time.Since(begin)
	if err != nil {
		return 0, 0, fmt.Errorf("mesita %s: %w: %.500s", strings.Join(args, " "), err, out)
	}
	return took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// benchHands is how long a person waits for what the program answers by itself, or of a
// cluster with much in it, as a shell completes names.
func benchHands(b *bench) error {
	n, err := b.one()
	if err != nil {
		return err
	}
	defer n.end()
	if err := n.drain(); err != nil {
		return err
	}
	if _, _, err := n.command("apply", "--detach", "-q", b.services("many.yaml", 5000, 1)); err != nil {
		return err
	}
	for _, w := range []struct {
		name string
		goal float64
		args []string
	}{
		{"--help", 50, []string{"--help"}},
		{"run --help", 50, []string{"run", "--help"}},
		{"completion of a verb", 100, []string{"__complete", "no"}},
		{"completion of a job, of 5,000", 100, []string{"__complete", "job", "show", "s49"}},
	} {
		f, cpu := b.figure("a person waits for: "+w.name, "ms", w.goal), b.figure("its own processor time", "ms", w.goal)
		for range b.times(15) {
			took, own, err := n.command(w.args...)
			if err != nil {
				return err
			}
			f.add(ms(took))
			cpu.add(ms(own))
		}
	}
	return nil
}

// benchTop is how long a person waits for the first screen of what 3,000 tasks use.
func benchTop(b *bench) error {
	const tasks = 3000
	n, err := b.one()
	if err != nil {
		return err
	}
	defer n.end()
	s := batch("/bin/sleep", "3600")
	s["array"], s["cpus"], s["mem"] = fmt.Sprintf("0-%d", tasks-1), 0.001, "1MiB"
	j, err := n.submit(s)
	if err != nil {
		return err
	}
	if err := await("all to run", 5*time.Minute, time.Second, func() bool {
		var now job
		return n.call(http.MethodGet, "/v1/jobs/"+j.ID, nil, &now) == nil && now.Counts.Running == tasks
	}); err != nil {
		return err
	}
	f, cpu := b.figure("top of 3,000 tasks, with the 0.1 s of its two looks", "ms", 300), b.figure("processor time for it of command, daemon and keeper", "ms", 300)
	for range b.times(9) {
		before, _ := n.cpu()
		took, own, err := n.command("top", "--once")
		if err != nil {
			return err
		}
		after, _ := n.cpu()
		f.add(ms(took))
		cpu.add((after-before)*1e3 + ms(own))
	}
	return nil
}

// benchApply is how long files of many services take: until all tasks of 300 run, and until
// 5,000 that wait are accepted.
func benchApply(b *bench) error {
	running := b.figure("apply of 300 services of 10 tasks → all run, and have for 1 s", "s", 104)
	for i := range b.times(3) {
		if err := b.applyOnce(running, i+1, 300, 10, false); err != nil {
			return err
		}
	}
	accepted := b.figure("apply --detach -q of 5,000 services → accepted", "s", 17.5)
	for i := range b.times(3) {
		if err := b.applyOnce(accepted, i+11, 5000, 1, true); err != nil {
			return err
		}
	}
	return nil
}

// applyOnce has a node of its own, which does not wait for the tasks of another to end.
func (b *bench) applyOnce(f *figure, node, services, tasks int, accept bool) error {
	n := b.newNode(node, "start")
	defer n.end()
	if err := n.startReady(); err != nil {
		return err
	}
	args := []string{"apply", "-q", b.services("services.yaml", services, tasks)}
	if accept {
		if err := n.drain(); err != nil {
			return err
		}
		args = append(args, "--detach")
	}
	took, _, err := n.command(args...)
	if err != nil {
		return err
	}
	f.add(took.Seconds())
	return nil
}

// drain lets nothing start: what waits is looked at, and not run.
func (n *node) drain() error {
	return n.call(http.MethodPost, "/v1/nodes/"+n.name+"/drain", struct{}{}, nil)
}

// services writes a file of so many services of so many tasks, and is its path.
func (b *bench) services(name string, services, tasks int) string {
	var text strings.Builder
	for i := range services {
		fmt.Fprintf(&text, "---\nname: s%d\nkind: service\ncount: %d\ncpus: 0.001\nmem: 1MiB\ncommand: [/bin/sleep, \"3600\"]\n", i, tasks)
	}
	path := filepath.Join(b.dir, name)
	_ = os.WriteFile(path, []byte(text.String()), 0o644) // the command that reads it fails, and says so
	return path
}
