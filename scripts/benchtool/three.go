package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// three starts a cluster of three voters; end ends them. The token lets more
// nodes join.
func (b *bench) three() (nodes []*node, token string, end func(), err error) {
	end = func() {
		for _, n := range nodes {
			n.end()
		}
	}
	first := b.newNode(1, "start")
	nodes = append(nodes, first)
	if err := first.startReady(); err != nil {
		return nodes, token, end, err
	}
	out, err := exec.Command(b.mesita, "--socket", first.socket, "node", "token", "--quiet").Output()
	if err != nil {
		return nodes, token, end, fmt.Errorf("make a token: %w", err)
	}
	token = strings.TrimSpace(string(out))
	for i := 2; i <= 3; i++ {
		n := b.newNode(i, "join", "127.0.7.1:5950", "--token", token)
		nodes = append(nodes, n)
		if err := n.startReady(); err != nil {
			return nodes, token, end, err
		}
	}
	return nodes, token, end, await("three voters", 30*time.Second, 50*time.Millisecond, func() bool {
		var l struct {
			Items []struct{ Role, State string }
		}
		if first.call(http.MethodGet, "/v1/nodes", nil, &l) != nil {
			return false
		}
		voters := 0
		for _, n := range l.Items {
			if strings.HasPrefix(n.Role, "voter") && n.State == "ready" {
				voters++
			}
		}
		return voters == 3
	})
}

// leaderOf is the node that leads, and one that does not.
func leaderOf(nodes []*node) (leader, other *node, err error) {
	for _, n := range nodes {
		var h health
		if n.call(http.MethodGet, "/v1/health", nil, &h) != nil {
			continue
		}
		for _, m := range nodes {
			if m.name == h.Leader {
				leader = m
			} else {
				other = m
			}
		}
		if leader != nil {
			return leader, other, nil
		}
	}
	return nil, nil, errors.New("no node leads")
}

func benchFailover(b *bench) error {
	f := b.figure("leader kill -9 → next write acknowledged, three nodes", "ms", 550)
	worst := b.figure("  the slowest of them", "ms", 900)
	nodes, _, end, err := b.three()
	defer end()
	if err != nil {
		return err
	}
	most := 0.0
	for range b.times(20) {
		leader, other, err := leaderOf(nodes)
		if err != nil {
			return err
		}
		begin := time.Now()
		leader.kill()
		s := batch("/bin/true")
		if _, err := other.submit(s); err != nil {
			return err
		}
		took := ms(time.Since(begin))
		f.add(took)
		most = max(most, took)
		leader.args[1] = "start" // it is a member already
		leader.args = dropJoin(leader.args)
		if err := leader.startReady(); err != nil {
			return err
		}
		if err := await("all voters to follow", 20*time.Second, 50*time.Millisecond, func() bool { return leader.awaitLeader(20*time.Millisecond) == nil }); err != nil {
			return err
		}
		time.Sleep(time.Second) // the follower catches up
	}
	worst.add(most)
	return nil
}

// dropJoin takes the address and the token of a join out of the arguments.
func dropJoin(args []string) []string {
	if len(args) > 4 && args[3] == "--token" {
		return append(append([]string{}, args[:2]...), args[5:]...)
	}
	return args
}

func benchNodeLoss(b *bench) error {
	f := b.figure("silent node → its task runs elsewhere, default settings", "s", 2.5)
	for range b.times(5) {
		took, err := nodeLossOnce(b)
		if err != nil {
			return err
		}
		f.add(took.Seconds())
	}
	return nil
}

func nodeLossOnce(b *bench) (time.Duration, error) {
	nodes, _, end, err := b.three()
	defer end()
	if err != nil {
		return 0, err
	}
	leader, _, err := leaderOf(nodes)
	if err != nil {
		return 0, err
	}
	s := spec{"kind": "service", "name": "svc", "count": 3, "command": []string{"/bin/sleep", "600"}, "cpus": 0.01, "mem": "8MiB"}
	if _, err := leader.submit(s); err != nil {
		return 0, err
	}
	if err := leader.awaitRunning("svc", 1); err != nil {
		return 0, err
	}
	if err := await("three tasks to run", 20*time.Second, 20*time.Millisecond, func() bool { return len(runningOn(leader, "")) == 3 }); err != nil {
		return 0, err
	}
	var victim *node
	for _, n := range nodes {
		if n != leader && len(runningOn(leader, n.name)) > 0 {
			victim = n
		}
	}
	if victim == nil {
		return 0, errors.New("no follower runs a task")
	}
	begin := time.Now()
	thaw, err := victim.freeze()
	defer thaw()
	if err != nil {
		return 0, err
	}
	err = await("the task to run elsewhere", 60*time.Second, 10*time.Millisecond, func() bool {
		return len(runningOn(leader, "")) == 3 && len(runningOn(leader, victim.name)) == 0
	})
	return time.Since(begin), err
}

// runningOn lists the running tasks of the service, on one node or on all.
func runningOn(n *node, name string) []task {
	var l struct{ Items []task }
	if n.call(http.MethodGet, "/v1/tasks?job=svc", nil, &l) != nil {
		return nil
	}
	var out []task
	for _, t := range l.Items {
		if t.State == "TASK_RUNNING" && (name == "" || t.Node == name) {
			out = append(out, t)
		}
	}
	return out
}

func benchAccept(b *bench) error {
	f := b.figure("jobs accepted over HTTP, 64 connections, three nodes", "jobs/s", 10_000)
	f.more = true
	cpu := b.figure("the same: CPU of a job, three nodes and the load together", "µs", 230)
	nodes, _, end, err := b.three()
	defer end()
	if err != nil {
		return err
	}
	leader, _, err := leaderOf(nodes)
	if err != nil {
		return err
	}
	// What is measured is accepting: no node meets the constraint, so that
	// running the jobs does not compete for the two cores.
	for _, n := range nodes {
		if err := leader.call(http.MethodPost, "/v1/nodes/"+n.name+"/drain", struct{}{}, nil); err != nil {
			return err
		}
	}
	const jobs, connections = 20_000, 64
	total := 0
	used := usage(nodes)
	var first, last health
	if err := leader.call(http.MethodGet, "/v1/health", nil, &first); err != nil {
		return err
	}
	for range b.times(3) {
		begin := time.Now()
		if err := parallel(connections, connections, func(int) error { return load(leader.socket, jobs/connections) }); err != nil {
			return err
		}
		f.add(float64(jobs/connections*connections) / time.Since(begin).Seconds())
		total += jobs / connections * connections
	}
	if err := leader.call(http.MethodGet, "/v1/health", nil, &last); err != nil {
		return err
	}
	per := func(c float64) float64 { return c / float64(total) * 1e6 }
	var leads, follow float64
	after := usage(nodes)
	for i, n := range nodes {
		if c := after[i] - used[i]; n == leader {
			leads = c
		} else {
			follow += c
		}
	}
	f.note = "over the leader's socket; load, three nodes and disks share this machine"
	cpu.add(per(leads + follow + after[len(nodes)] - used[len(nodes)]))
	cpu.note = fmt.Sprintf("leader %.0f, followers together %.0f, load %.0f; %.0f jobs per log entry",
		per(leads), per(follow), per(after[len(nodes)]-used[len(nodes)]), float64(total)/float64(last.Index-first.Index))
	return nil
}

// usage is the processor time of each node, and then of this program, in seconds.
func usage(nodes []*node) []float64 {
	var out []float64
	for _, n := range nodes {
		out = append(out, cpuTime(n.cmd.Process.Pid))
	}
	return append(out, cpuTime(os.Getpid()))
}

// load submits jobs over one connection, each after the answer to the one
// before. It writes the request's bytes itself, so that little of the machine
// goes to the load.
func load(socket string, jobs int) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	body := `{"kind":"batch","command":["/bin/true"],"cpus":0.001,"mem":"8MiB"}`
	req := fmt.Appendf(nil, "POST /v1/jobs HTTP/1.1\r\nHost: mesita\r\nPrefer: return=minimal\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	r := bufio.NewReader(c)
	for range jobs {
		if _, err := c.Write(req); err != nil {
			return err
		}
		if err := readCreated(r); err != nil {
			return err
		}
	}
	return nil
}

// readCreated reads one answer, which must be 201.
func readCreated(r *bufio.Reader) error {
	length, status := 0, ""
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimSpace(line)
		if status == "" {
			status = line
		}
		if v, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			length, _ = strconv.Atoi(v)
		}
		if line == "" {
			break
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	if !strings.Contains(status, " 201 ") {
		return fmt.Errorf("%s: %s", status, body)
	}
	return nil
}
