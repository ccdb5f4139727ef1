package scheduler

import (
	"hash/fnv"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// candidate is a node during one pass, with what the pass has not used yet.
type candidate struct {
	node *api.Node
	free api.Resources
}

// candidates lists the nodes that may get tasks.
func candidates(v *fsm.View) []*candidate {
	var out []*candidate
	for n := range v.Nodes() {
		if n.Schedulable() {
			out = append(out, &candidate{node: n, free: v.Free(n.ID)})
		}
	}
	return out
}

// reject says why a node cannot take one more task of the spec, "" if it can.
func reject(n *api.Node, free api.Resources, spec *api.JobSpec, need api.Resources) string {
	for _, c := range spec.Constraints {
		if !c.Match(n.Name, n.Attrs) {
			return "does not meet " + c.String()
		}
	}
	if short, ok := free.Missing(need); !ok {
		return short.String()
	}
	if k := spec.AnyPorts(); k > 0 && free.Ports.Minus(need.Ports).Count() < int64(k) {
		return "has no free ports"
	}
	return ""
}

// unavailable says why a node gets no new tasks at all, "" if it does.
func unavailable(n *api.Node) string {
	switch {
	case n.State == api.NodeGone:
		return "was removed"
	case n.VoterOnly:
		return "votes only"
	case n.Drain || n.State == api.NodeDraining:
		return "is draining"
	case n.State != api.NodeReady:
		return "is " + n.State.String()
	case n.DiskFull:
		return "has a full disk"
	}
	return ""
}

// choose picks the node for one task of a job: one with the fewest tasks of
// the job, then the one that stays least loaded in its scarcest resource.
func choose(nodes []*candidate, spec *api.JobSpec, need api.Resources, count func(*candidate) int) *candidate {
	var best *candidate
	var bestCount int
	var bestLoad float64
	for _, c := range nodes {
		if reject(c.node, c.free, spec, need) != "" {
			continue
		}
		n, l := 0, load(c, need)
		if spec.Kind == api.KindService {
			n = count(c)
		}
		if best == nil || n < bestCount || n == bestCount && l < bestLoad {
			best, bestCount, bestLoad = c, n, l
		}
	}
	return best
}

// load is the share of the scarcest of cpus and mem that is in use once need
// is placed.
func load(c *candidate, need api.Resources) float64 {
	used := func(total, free, need int64) float64 {
		if total <= 0 {
			return 1
		}
		return 1 - float64(free-need)/float64(total)
	}
	has := c.node.Resources
	return max(used(int64(has.CPUs), int64(c.free.CPUs), int64(need.CPUs)), used(int64(has.Mem), int64(c.free.Mem), int64(need.Mem)))
}

// pickPorts chooses numbers for the ports that may be any. It begins at a
// place that depends on the attempt, so that a port just given back is not the
// first to be used again.
func pickPorts(spec *api.JobSpec, t *api.Task, free api.Ranges) (map[string]int, api.Ranges) {
	if len(spec.Ports) == 0 {
		return nil, nil
	}
	ports := make(map[string]int, len(spec.Ports))
	var taken api.Ranges
	for _, p := range spec.Ports {
		if p.Port != 0 {
			ports[p.Name] = p.Port
			taken = taken.Union(api.Ranges{{First: int64(p.Port), Last: int64(p.Port)}})
		}
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(t.ID)) // a hash never fails
	start := int64(h.Sum32()) + int64(t.Attempt)*7919
	for _, p := range spec.Ports {
		if p.Port != 0 {
			continue
		}
		left := free.Minus(taken)
		n := nth(left, start%left.Count())
		ports[p.Name] = int(n)
		taken = taken.Union(api.Ranges{{First: n, Last: n}})
	}
	return ports, taken
}

// nth is the i-th number of r, counted from 0.
func nth(r api.Ranges, i int64) int64 {
	for _, x := range r {
		if n := x.Last - x.First + 1; i < n {
			return x.First + i
		} else {
			i -= n
		}
	}
	return 0
}
