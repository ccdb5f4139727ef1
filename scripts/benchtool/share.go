package main

import (
	"fmt"
	"math"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// shareSpan is how long two services are watched: scheduling is fair over many
// turns.
const shareSpan = 10 * time.Second

// benchShares watches services that were guaranteed CPU as 1 to 3 divide a node
// on which each would take all of it.
func benchShares(b *bench) error {
	n, err := b.one()
	if err != nil {
		return err
	}
	defer n.end()
	for _, path := range []string{"p", "q"} {
		if err := n.call(http.MethodPut, "/v1/partitions/"+path+"?create=1", struct{}{}, nil); err != nil {
			return err
		}
	}
	one, three := hungry("one", "default", 0.4, 1), hungry("three", "default", 1.2, 1)
	for _, c := range []struct {
		what      string
		a, b      spec
		unmanaged int // busy processes beside
	}{
		{"across jobs", one, three, 0},
		{"across jobs of one and of three tasks", one, hungry("three", "default", 0.4, 3), 0},
		{"across partitions", hungry("one", "p", 0.4, 1), hungry("three", "q", 1.2, 1), 0},
		{"beside an unmanaged busy process for each CPU", one, three, runtime.NumCPU()},
	} {
		f := b.figure("1 : 3 "+c.what+": off by", "%", 5)
		for range b.times(3) {
			off, err := n.share(c.a, c.b, c.unmanaged)
			if err != nil {
				return err
			}
			f.add(off)
		}
	}
	return n.idleShare(b)
}

// hungry is a service of which each task would take all CPUs.
func hungry(name, partition string, cpus float64, count int) spec {
	loops := strings.Repeat("while :; do :; done & ", runtime.NumCPU())
	return spec{"kind": "service", "name": name, "partition": partition, "command": []string{"/bin/sh", "-c", loops + "wait"}, "cpus": cpus, "mem": "16MiB", "count": count}
}

// share is by how many percent what two services get is off from 1 to 3.
func (n *node) share(a, b spec, unmanaged int) (float64, error) {
	for range unmanaged {
		c := exec.Command("/bin/sh", "-c", "while :; do :; done")
		if err := c.Start(); err != nil {
			return 0, err
		}
		defer func() {
			_ = c.Process.Kill()
			_ = c.Wait()
		}()
	}
	for _, s := range []spec{a, b} {
		j, err := n.submit(s)
		if err != nil {
			return 0, err
		}
		defer n.remove(j.ID)
		if err := n.awaitRunning(j.ID, s["count"].(int)); err != nil {
			return 0, err
		}
	}
	time.Sleep(time.Second) // weights follow at once, and their use a little later
	before, err := n.used()
	if err != nil {
		return 0, err
	}
	time.Sleep(shareSpan)
	after, err := n.used()
	if err != nil {
		return 0, err
	}
	ratio := (after["three"] - before["three"]) / (after["one"] - before["one"])
	return 100 * math.Abs(ratio/3-1), nil
}

// remove stops a job, waits for its end and forgets it. What fails here, the
// next submit of that name tells.
func (n *node) remove(id string) {
	_ = n.call(http.MethodPost, "/v1/jobs/"+id+"/stop", struct{}{}, nil)
	_ = n.call(http.MethodGet, "/v1/jobs/"+id+"?wait=stopped&timeout=30s", nil, nil)
	_ = n.call(http.MethodDelete, "/v1/jobs/"+id, nil, nil)
}

// used is the CPU time of each job so far, in seconds.
func (n *node) used() (map[string]float64, error) {
	stats, err := n.stats()
	out := map[string]float64{}
	for _, s := range stats {
		job, _, _ := strings.Cut(s.Task, ".")
		out[job] += time.Duration(s.CPUTimeNS).Seconds()
	}
	return out, err
}

type stat struct {
	Task        string
	CPUTimeNS   int64 `json:"cpuTimeNs"`
	ThrottledNS int64 `json:"throttledNs"`
}

func (n *node) stats() ([]stat, error) {
	var got struct{ Items []stat }
	err := n.call(http.MethodGet, "/v1/stats", nil, &got)
	return got.Items, err
}

// idleShare reports whether a task of next to no CPU is held up while nobody else
// of its node wants any.
func (n *node) idleShare(b *bench) error {
	f := b.figure("a busy service of --cpus 0.01 on an idle node: held up for", "ms", 1)
	j, err := n.submit(hungry("one", "default", 0.01, 1))
	if err != nil {
		return err
	}
	defer n.remove(j.ID)
	if err := n.awaitRunning(j.ID, 1); err != nil {
		return err
	}
	before, err := n.used()
	if err != nil {
		return err
	}
	time.Sleep(shareSpan)
	stats, err := n.stats()
	if err != nil || len(stats) != 1 {
		return fmt.Errorf("%d tasks have statistics: %w", len(stats), err)
	}
	f.add(ms(time.Duration(stats[0].ThrottledNS)))
	f.note = fmt.Sprintf("(it used %.2f CPUs)", (time.Duration(stats[0].CPUTimeNS).Seconds()-before["one"])/shareSpan.Seconds())
	return nil
}
