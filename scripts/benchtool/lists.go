package main

import (
	"fmt"
	"os/exec"
	"time"
)

// listed is how many jobs of one task wait while lists are asked for.
const listed = 200_000

// benchLists is what it costs to look at much that waits: the processor time of the
// node and of the command together, as others share the machine's time.
func benchLists(b *bench) error {
	n, err := b.one()
	if err != nil {
		return err
	}
	defer n.end()
	if err := n.drain(); err != nil {
		return err
	}
	array := batch("/bin/true")
	array["name"], array["array"] = "wide", fmt.Sprintf("0-%d", listed-1)
	if _, err := n.submit(array); err != nil {
		return err
	}
	const connections = 50
	if err := parallel(connections, connections, func(int) error { return load(n.socket, listed/connections) }); err != nil {
		return err
	}
	idle := 0.0 // of what continues meanwhile without being asked
	if err := await("the node to have nothing to do", time.Minute, 0, func() bool {
		before := cpuTime(n.cmd.Process.Pid)
		time.Sleep(time.Second)
		idle = cpuTime(n.cmd.Process.Pid) - before
		return idle < 0.05
	}); err != nil {
		return err
	}
	for _, l := range []struct {
		name string
		args []string
	}{
		{"ps, 200,000 jobs of a task each and an array wait", []string{"ps"}},
		{"ps of an array of 200,000", []string{"ps", "wide"}},
		{"queue, 200,000 jobs of a task each and an array wait", []string{"queue"}},
		{"job ls", []string{"job", "ls"}},
	} {
		f := b.figure("CPU of node and command: "+l.name, "ms", 200)
		for range b.times(7) {
			before := cpuTime(n.cmd.Process.Pid)
			cmd := exec.Command(b.mesita, append([]string{"--socket", n.socket}, l.args...)...)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%v: %w: %.500s", l.args, err, out)
			}
			own := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			f.add((cpuTime(n.cmd.Process.Pid)-before)*1e3 + ms(own))
		}
	}
	return nil
}
