package main

import (
	"bytes"
	"os"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/replica"
	"github.com/mesita/mesita/integration/lab"
)

// sameIndex waits until all voters have applied what the leader has, and notes
// up to where.
func (r *run) sameIndex() {
	r.lab.Await(wellWithin, "all voters to be as far as the leader", func() bool {
		leader := r.lab.LeaderNow()
		if leader == nil {
			return false
		}
		var top api.Health
		if leader.Call("GET", "/v1/health", nil, &top) != nil {
			return false
		}
		r.agreed, r.voters = top.Index, nil
		for _, m := range leader.Members() {
			if !strings.HasPrefix(m.Role, "voter") {
				continue
			}
			n := r.named(m.Name)
			var h api.Health
			if n.Call("GET", "/v1/health", nil, &h) != nil || h.Index < top.Index {
				return false
			}
			r.voters = append(r.voters, n)
		}
		return true
	})
}

func (r *run) named(name string) *lab.Node {
	for _, n := range r.nodes {
		if n.Name == name {
			return n
		}
	}
	r.stage.Fatalf("there is no node %q", name)
	return nil
}

// checkReplicas reads the logs of the voters: they are whole, the same entry is
// the same everywhere, and at the index that all had applied the states are
// equal.
func (r *run) checkReplicas() {
	var all []*replica.Replica
	for _, n := range r.voters {
		p, err := replica.Read(n)
		switch {
		case err != nil:
			r.stage.Errorf("%v", err)
		case p.Last < r.agreed || p.Snapshot() > r.agreed:
			r.stage.Errorf("%s had applied %d, and its log ends with %d, its snapshot with %d", n.Name, r.agreed, p.Last, p.Snapshot())
		default:
			all = append(all, p)
		}
	}
	if want := lab.Voters(len(r.nodes)); len(all) == want {
		r.sameLogs(all)
		r.sameStates(all)
	} else {
		r.stage.Errorf("%d replicas can be compared, want %d", len(all), want)
	}
}

func (r *run) sameLogs(all []*replica.Replica) {
	for i := all[0].First; i <= r.agreed; i++ {
		for _, p := range all[1:] {
			if a, b := all[0].Logs[i], p.Logs[i]; a != "" && b != "" && a != b {
				r.stage.Errorf("entry %d is %s on %s, and %s on %s", i, a, all[0].Node, b, p.Node)
				return
			}
		}
	}
}

func (r *run) sameStates(all []*replica.Replica) {
	var first []byte
	for i, p := range all {
		state, err := p.At(r.agreed)
		if err != nil {
			r.stage.Errorf("%v", err)
			return
		}
		if i == 0 {
			first = state
		} else if !bytes.Equal(first, state) {
			r.stage.Errorf("the states of %s and %s differ at index %d", all[0].Node, p.Node, r.agreed)
		}
	}
	r.stage.Say("equal", "%d replicas at index %d, %d bytes", len(all), r.agreed, len(first))
}

// mounts lists those below the nodes' folders, but for their disks.
func (r *run) mounts() []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	r.must(err)
	var out []string
	for text := range strings.Lines(string(b)) {
		f := strings.Fields(text)
		for _, n := range r.nodes {
			if len(f) > 4 && strings.HasPrefix(f[4], n.Dir+"/") {
				out = append(out, f[4])
			}
		}
	}
	return out
}
