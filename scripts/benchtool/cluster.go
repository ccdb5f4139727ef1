package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// benchIdleCluster measures what a cluster costs in which nothing happens, by
// role, at two sizes. The nodes share this machine: only what each process
// itself used counts.
func benchIdleCluster(b *bench) error { return idleClusters(b, 4, 30) }

func benchIdle4(b *bench) error { return idleClusters(b, 4) }

func idleClusters(b *bench, sizes ...int) error {
	nodes, token, _, err := b.three()
	defer func() {
		for _, n := range nodes {
			n.end()
		}
	}()
	if err != nil {
		return err
	}
	for _, size := range sizes {
		for len(nodes) < size {
			n := b.newNode(len(nodes)+1, "join", "127.0.7.1:5950", "--token", token)
			nodes = append(nodes, n)
			if err := n.startReady(); err != nil {
				return err
			}
		}
		if err := idleByRole(b, nodes); err != nil {
			return err
		}
	}
	return nil
}

// cost is what a process used in a span of time.
type cost struct {
	cpu      float64 // seconds
	switches float64
}

func costOf(pid int) cost {
	c := cost{cpu: cpuTime(pid)}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f) // a thread that ended meanwhile switches no more
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.HasSuffix(k, "ctxt_switches") {
				n, _ := strconv.ParseFloat(strings.TrimSpace(v), 64)
				c.switches += n
			}
		}
	}
	return c
}

// idleByRole lets a minute pass, and tells what each role used in it: of
// several nodes, the one that used most.
func idleByRole(b *bench, nodes []*node) error {
	const span = 60
	role := map[string]string{}
	if err := await("all nodes to be ready, and their voters chosen", time.Minute, time.Second, func() bool {
		var l struct {
			Items []struct{ Name, Role, State string }
		}
		if nodes[0].call(http.MethodGet, "/v1/nodes", nil, &l) != nil || len(l.Items) != len(nodes) {
			return false
		}
		voters := 0
		for _, n := range l.Items {
			if n.State != "ready" {
				return false
			}
			if role[n.Name] = n.Role; n.Role != "worker" {
				voters++
			}
		}
		return voters == 3 || len(nodes) >= 5 && voters == 5
	}); err != nil {
		return err
	}
	time.Sleep(20 * time.Second) // gossip settles
	var before, after health
	if err := nodes[0].call(http.MethodGet, "/v1/health", nil, &before); err != nil {
		return err
	}
	begin := map[*node]cost{}
	for _, n := range nodes {
		begin[n] = costOf(n.cmd.Process.Pid)
	}
	time.Sleep(span * time.Second)
	used := map[string]cost{}
	for _, n := range nodes {
		now, most := costOf(n.cmd.Process.Pid), used[role[n.name]]
		used[role[n.name]] = cost{max(most.cpu, now.cpu-begin[n].cpu), max(most.switches, now.switches-begin[n].switches)}
	}
	if err := nodes[0].call(http.MethodGet, "/v1/health", nil, &after); err != nil {
		return err
	}
	for _, r := range []struct {
		role string
		goal float64
	}{{"voter, leader", 0.6}, {"voter", 0.2}, {"worker", 0.2}} {
		f := b.figure(fmt.Sprintf("idle cluster of %d: CPU of %s", len(nodes), roleName(r.role)), "% core", r.goal)
		f.add(max(used[r.role].cpu, 0.001) / span * 100)
		f.note = fmt.Sprintf("%.0f context switches a second", used[r.role].switches/span)
	}
	b.figure(fmt.Sprintf("idle cluster of %d: Raft entries per minute (+1)", len(nodes)), "", 1).add(float64(after.Index-before.Index) + 1)
	return nil
}

func roleName(role string) string {
	switch role {
	case "voter, leader":
		return "the leader"
	case "voter":
		return "the busiest follower"
	}
	return "the busiest worker"
}
