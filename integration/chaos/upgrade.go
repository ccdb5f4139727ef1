package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/lab"
)

// pinned is the commit from which upgrades have to work, and back to which
// until the level of the cluster was raised.
const pinned = "64a1907"

// snapshotEntries is more than a leader keeps of its log after a snapshot: who
// lacks so many is sent the snapshot.
const snapshotEntries = 19_000

// buildOld builds the program as it was at a commit of this clone.
func buildOld(t lab.T, commit, dir string) string {
	src := filepath.Join(dir, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	pack := exec.Command("sh", "-c", `git -C "$0" archive "$1" | tar -x -C "$2"`, lab.Root(t), commit, src)
	if out, err := pack.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("this clone has no commit %s, from which upgrades have to work: clone with the whole history (%v: %s)", commit, err, out)
	}
	bin := filepath.Join(dir, "mesita")
	lab.Build(t, src, bin)
	return bin
}

// upgrade takes a cluster of the old program, node by node, to the new one,
// back, and to the new one again, while clients work. Nodes of both join a
// cluster that is half of each, and each gets a snapshot of the other.
func (r *run) upgrade(older, newer string) {
	r.roll("up", newer, func(after int) {
		switch after {
		case 1:
			r.join("a node of the new version", newer)
			r.join("a node of the old version", older)
		case 2:
			r.behind("a node of the new version is sent a snapshot of the old", older, newer)
		}
	})
	r.roll("back", older, func(after int) {
		if after == 2 {
			r.behind("a node of the old version is sent a snapshot of the new", newer, older)
		}
	})
	r.roll("up again", newer, func(int) {})
	n := r.nodes[0]
	var level struct{ Level int }
	n.Must(http.MethodGet, "/v1/level", nil, &level)
	if level.Level != 0 {
		r.stage.Errorf("the cluster is at level %d before anybody raised it", level.Level)
	}
	r.lab.Await(wellWithin, "the level to be raised", func() bool { // gossip may not know yet what the last node knows
		_, _, code := n.CLI("cluster", "level", "--raise")
		return code == 0
	})
	r.well()
}

// roll gives each node another program, one after the other.
func (r *run) roll(what, bin string, between func(after int)) {
	for i, n := range r.rolling() {
		r.stage.Say(what, "%s", n.Name)
		n.Terminate()
		n.Bin = bin
		n.Launch("start")
		r.well()
		between(i + 1)
	}
}

// rolling is the nodes in the order in which they are upgraded: the leader last.
func (r *run) rolling() []*lab.Node {
	leader := r.lab.Leader()
	return slices.SortedStableFunc(slices.Values(r.nodes), func(a, b *lab.Node) int {
		switch {
		case a == b || a != leader && b != leader:
			return 0
		case a == leader:
			return 1
		}
		return -1
	})
}

func (r *run) join(what, bin string) {
	n := r.lab.AddNode(len(r.lab.Nodes) + 1)
	n.Bin = bin
	d, err := lab.NewDisk(n, r.images)
	r.must(err)
	r.disks[n] = d
	r.stage.Say("join", "%s: %s", n.Name, what)
	n.Launch("join", r.nodes[0].IP, "--token", r.nodes[0].Token(api.TokenRequest{Kind: api.TokenJoin}))
	n.AwaitReady()
	r.nodes = append(r.nodes, n)
	r.well()
}

// behind has a node of one program get a snapshot that one of the other wrote.
func (r *run) behind(what, leads, gets string) {
	leader := r.lab.Leader()
	if leader == nil || leader.Bin != leads {
		r.stage.Fatalf("%s: the leader is of the wrong version", what)
	}
	var not []*lab.Node
	for _, n := range r.nodes {
		if n.Bin != leads {
			not = append(not, n)
		}
	}
	picked := r.followers(1, not...)
	if picked == nil {
		r.stage.Fatalf("%s: no follower is of that version", what)
	}
	n := picked[0]
	r.stage.Say("behind", "%s: %s", n.Name, what)
	r.doubles = "a node that is away for longer than a stop may take"
	n.Terminate()
	end := r.grow(leader, n)
	n.Bin = gets
	size := logSize(n)
	n.Launch("start", "--log-level", "debug")
	r.lab.Await(wellWithin, n.Name+" to have caught up", func() bool { return indexOf(n) >= end })
	r.well()
	log, err := os.ReadFile(n.Dir + ".log")
	if err != nil || !strings.Contains(string(log[size:]), "Installed remote snapshot") {
		r.stage.Errorf("%s has caught up without a snapshot (%v)", n.Name, err)
	}
	n.Terminate() // debug no longer
	n.Launch("start")
	r.well()
}

func logSize(n *lab.Node) int64 {
	info, err := os.Stat(n.Dir + ".log")
	if err != nil {
		return 0
	}
	return info.Size()
}

// grow makes the log longer by what a snapshot needs, with a service that has no
// node to run on, and returns its end.
func (r *run) grow(leader, down *lab.Node) uint64 {
	spec := map[string]any{"kind": "service", "name": "grow-" + down.Name, "count": 1, "cpus": 0.01, "mem": "8MiB",
		"constraints": []string{"node.name=" + down.Name}, "command": r.record.Command(record.Forever, 0)}
	leader.Submit(spec)
	target := indexOf(leader) + snapshotEntries
	var reached atomic.Bool
	var wg sync.WaitGroup
	for i := range 2 { // more would share entries
		wg.Go(func() {
			for k := i; !reached.Load() && r.ctx.Err() == nil; k++ {
				_ = leader.Call(http.MethodPost, "/v1/jobs/grow-"+down.Name+"/scale", map[string]int{"count": 1 + k%2}, nil) // what counts is the index
				if k%64 == 0 && indexOf(leader) >= target {
					reached.Store(true)
				}
			}
		})
	}
	wg.Wait()
	leader.Must(http.MethodPost, "/v1/jobs/grow-"+down.Name+"/stop", nil, nil)
	return target
}

// indexOf is how much of the log has taken effect on a node; 0 if it does not
// answer.
func indexOf(n *lab.Node) uint64 {
	var h api.Health
	if n.Call(http.MethodGet, "/v1/health", nil, &h) != nil {
		return 0
	}
	return h.Index
}

// load submits that many small jobs a second with the Go client, which repeats
// requests by itself: none of them may fail.
type load struct {
	*run
	client *client.Client
	failed atomic.Int64
	sent   atomic.Int64
}

// atSockets sends requests for http://127.0.0.1:N to the socket of node N.
type atSockets struct{ nodes []*lab.Node }

func (a atSockets) RoundTrip(q *http.Request) (*http.Response, error) {
	var i int
	if _, err := fmt.Sscan(q.URL.Port(), &i); err != nil {
		return nil, err
	}
	return a.nodes[i-1].RoundTrip(q)
}

func (r *run) load(ctx context.Context, rate int) {
	l := &load{run: r}
	nodes := atSockets{slices.Clone(r.nodes)}
	var addrs []string
	for i := range nodes.nodes {
		addrs = append(addrs, fmt.Sprintf("http://127.0.0.1:%d", i+1))
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	c, err := client.New(client.Config{Addrs: addrs, HTTP: nodes})
	if err != nil {
		r.stage.Errorf("%v", err)
		return
	}
	l.client = c
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	var wg sync.WaitGroup
	began := time.Now()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			wg.Go(l.one)
		case <-ctx.Done():
		}
	}
	wg.Wait()
	r.stage.Say("load", "%d jobs, %.0f a second, %d requests failed", l.sent.Load(), float64(l.sent.Load())/time.Since(began).Seconds(), l.failed.Load())
}

func (l *load) one() {
	l.sent.Add(1)
	p := &promise{job: fmt.Sprintf("load-%d", l.loads.Add(1)), tasks: 1, codes: []int{0}, silent: true}
	spec := &api.JobSpec{Name: p.job, Kind: api.KindBatch, TaskSpec: api.TaskSpec{Command: []string{"/bin/true"}, Request: api.Request{CPUs: 10, Mem: 8 << 20}}}
	l.ledger.mu.Lock()
	l.ledger.batches[p.job] = p
	l.ledger.mu.Unlock()
	began := time.Now()
	if _, err := l.client.Submit(context.Background(), spec); err != nil {
		l.failed.Add(1)
		l.stage.Errorf("a request failed after %.1f s that the client did not repeat: %v", time.Since(began).Seconds(), err)
		return
	}
	l.ledger.mu.Lock()
	p.acked = true
	l.ledger.mu.Unlock()
}
