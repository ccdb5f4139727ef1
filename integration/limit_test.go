package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// usedBy is the CPU that all tasks of a partition have used on a node.
func usedBy(n *lab.Node, partition string) time.Duration {
	n.T.Helper()
	files, _ := filepath.Glob("/sys/fs/cgroup/*/" + n.Slice() + "/" + partition + "/cpu.stat")
	for _, file := range append(files, filepath.Join("/sys/fs/cgroup", n.Slice(), partition, "cpu.stat")) {
		var us int64
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if _, err := fmt.Sscanf(string(b), "usage_usec %d", &us); err == nil { // that of the v2 tree
			return time.Duration(us) * time.Microsecond
		}
	}
	n.T.Fatalf("%s has no group of partition %s", n.Name, partition)
	return 0
}

// quotaOf is the bound of a partition on a node as the kernel has it, in
// hundredths of a millisecond; -1 is none.
func quotaOf(n *lab.Node, partition string) int64 {
	for _, file := range []string{filepath.Join("/sys/fs/cgroup", n.Slice(), partition, "cpu.max"), filepath.Join("/sys/fs/cgroup/cpu", n.Slice(), partition, "cpu.cfs_quota_us")} {
		var us int64
		b, err := os.ReadFile(file)
		if err == nil && strings.HasPrefix(string(b), "max") {
			return -1
		}
		if err != nil {
			continue
		}
		if _, err := fmt.Sscan(string(b), &us); err == nil {
			return us
		}
	}
	return 0
}

// A partition with a hard limit uses no more CPU on all nodes together, though
// each of its tasks could; one beside it may use what is idle. A node whose
// daemon is gone keeps its part, and what is bounded no more is not.
func TestHardLimit(t *testing.T) {
	l := newLab(t, 3)
	l.Form()
	n := l.Leader()
	away := l.Other(n)
	two := []*lab.Node{n, away}
	isolated := func(m api.NodeStatus) bool { return m.Attrs["isolation.cpu"] == "yes" }
	if all := n.Members(); len(all) != 3 || !isolated(all[0]) {
		t.Skip("this machine does not divide the CPU")
	}
	if _, errs, code := n.CLI("partition", "create", "ml", "--limit", "cpus=0.5", "--limit-hard"); code != 0 {
		t.Fatal(errs)
	}
	n.Must(http.MethodPut, "/v1/partitions/free?create=1", map[string]any{}, nil)
	spin := func(name, partition string, on *lab.Node, cpus float64) {
		n.Submit(map[string]any{"kind": "service", "name": name, "partition": partition, "cpus": cpus, "mem": "32MiB", "stopGrace": "1s", "constraints": []string{"node.name=" + on.Name},
			"command": []string{"/bin/sh", "-c", "while :; do :; done & while :; do :; done"}})
		l.Await(lab.Patience, name+" to run", func() bool { return len(n.Running(name)) == 1 })
	}
	for i, node := range two {
		spin(fmt.Sprint("spin", i), "ml", node, 0.05)
		spin(fmt.Sprint("beside", i), "free", node, 0.05)
	}
	sum := func() (us int64) {
		for _, node := range two {
			us += quotaOf(node, "ml")
		}
		return us
	}
	l.Await(lab.Patience, "each node to have its part", func() bool { return sum() == 50_000 })
	used := func(partition string) (d time.Duration) {
		for _, node := range two {
			d += usedBy(node, partition)
		}
		return d
	}
	bounded := func(when string) {
		t.Helper()
		began, was := time.Now(), used("ml")
		linger(3 * time.Second)
		got, span := used("ml")-was, time.Since(began)
		if got > span*3/4 { // unbounded they use all there is; a busy kernel lets each period run over by a few milliseconds
			t.Errorf("%s: within %s half a CPU was %s", when, span, got)
		}
	}
	bounded("two tasks of a limit of half a CPU")
	spin("more", "ml", away, 0.1)
	l.Await(lab.Patience, "the parts to follow what runs", func() bool { s := sum(); return s > 49_000 && s < 55_000 })
	bounded("one more on one of the nodes, a part of 3 : 1")
	for _, node := range two {
		if q := quotaOf(node, "free"); q != -1 {
			t.Errorf("a partition without a limit has a quota of %d", q)
		}
	}
	away.Kill()
	was := quotaOf(away, "ml")
	if _, errs, code := n.CLI("partition", "set", "ml", "--limit-hard=false"); code != 0 {
		t.Fatal(errs)
	}
	if now := quotaOf(away, "ml"); now != was || was <= 0 {
		t.Errorf("a node whose daemon is gone had %d and has %d", was, now)
	}
	away.Start()
	l.Await(lab.Patience, "the bounds to be lifted", func() bool { return sum() == -2 })
}
