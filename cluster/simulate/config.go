package simulate

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/simulate/trace"
)

// Bounds of what a simulation takes.
const (
	MaxNodes    = 20_000
	MaxFailures = 100_000
)

// Cluster is the cluster to simulate. Its JSON and YAML field names are those
// of the cluster file.
type Cluster struct {
	Nodes      []NodeGroup      `json:"nodes"`
	Partitions []*api.Partition `json:"partitions,omitempty"` // none: those that the trace names, all alike
	Failures   []Failure        `json:"failures,omitempty"`
	Seed       int64            `json:"seed,omitempty"`  // shuffles what is chosen by chance: which of equal nodes comes first
	Start      time.Time        `json:"start,omitzero"`  // the wall clock at time 0, for timetables; default Monday 2026-01-05 00:00 UTC
	Stop       api.Duration     `json:"stop,omitempty"`  // how long a task takes to end when it is told to, at most its grace; default 0
	Until      api.Duration     `json:"until,omitempty"` // end the simulation then; default: when nothing is left to do
	Trace      trace.Mapping    `json:"trace,omitzero"`  // how to read the trace
}

// NodeGroup is one node, or Count nodes that are alike and named NAME1,
// NAME2 and so on.
type NodeGroup struct {
	Name      string            `json:"name"`
	Count     int               `json:"count,omitempty"` // 0: one node, with just that name
	Resources string            `json:"resources"`       // such as cpus=8,mem=32GiB
	Attrs     map[string]string `json:"attrs,omitempty"`
}

// Failure takes a node away, with all that runs on it, and brings it back.
type Failure struct {
	Node string       `json:"node"`
	At   api.Duration `json:"at"`
	For  api.Duration `json:"for,omitempty"` // 0: it never comes back
}

// defaultStart is a Monday at midnight.
var defaultStart = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// node is a node of the simulated cluster.
type node struct {
	id, name  string
	resources api.Resources
	attrs     map[string]string
}

// Validate checks a cluster and fills the defaults of its partitions in. The
// error names the field and the remedy.
func (c *Cluster) Validate() error {
	if _, err := c.nodes(); err != nil {
		return err
	}
	if err := c.validatePartitions(); err != nil {
		return err
	}
	if err := c.validateFailures(); err != nil {
		return err
	}
	if err := validSpan("stop", c.Stop, 24*time.Hour); err != nil {
		return err
	}
	if err := validSpan("until", c.Until, trace.MaxSpan); err != nil {
		return err
	}
	return api.InField("trace", c.Trace.Validate())
}

func validSpan(field string, d api.Duration, most time.Duration) error {
	if d < 0 || time.Duration(d) > most {
		return api.FieldErrorf(field, "%s is not within 0s to %s", d, most)
	}
	return nil
}

// nodes lists every node of every group.
func (c *Cluster) nodes() ([]node, error) {
	if len(c.Nodes) == 0 {
		return nil, api.FieldErrorf("nodes", "is empty: write for example - {name: n, count: 10, resources: \"cpus=8,mem=32GiB\"}")
	}
	var out []node
	seen := map[string]bool{}
	for i, g := range c.Nodes {
		group, err := g.expand(MaxNodes - len(out))
		if err != nil {
			return nil, api.InField(fmt.Sprintf("nodes[%d]", i), err)
		}
		for _, n := range group {
			if seen[n.name] {
				return nil, api.FieldErrorf(fmt.Sprintf("nodes[%d].name", i), "a node %q is there already: choose another name", n.name)
			}
			seen[n.name] = true
			out = append(out, n)
		}
	}
	return out, nil
}

func (g NodeGroup) expand(room int) ([]node, error) {
	if err := api.ValidateName("name", g.Name); err != nil {
		return nil, err
	}
	if g.Count < 0 || max(g.Count, 1) > room {
		return nil, api.FieldErrorf("count", "%d is not within 1 to %d: a simulation holds at most %s", g.Count, room, api.Count(MaxNodes, "node"))
	}
	r, err := api.ParseResources(g.Resources)
	if err == nil {
		err = r.Validate()
	}
	if err != nil {
		return nil, api.InField("resources", err)
	}
	if r.CPUs <= 0 || r.Mem <= 0 {
		return nil, api.FieldErrorf("resources", "%q has no cpus or no mem: write for example cpus=8,mem=32GiB", g.Resources)
	}
	if err := api.ValidateAttrs("attrs", g.Attrs); err != nil {
		return nil, err
	}
	if g.Count == 0 {
		return []node{{name: g.Name, resources: r, attrs: g.Attrs}}, nil
	}
	out := make([]node, g.Count)
	for i := range out {
		out[i] = node{name: g.Name + strconv.Itoa(i+1), resources: r, attrs: g.Attrs}
	}
	return out, api.ValidateName("name", out[g.Count-1].name)
}

func (c *Cluster) validatePartitions() error {
	if len(c.Partitions) > api.MaxPartitions {
		return api.FieldErrorf("partitions", "has %d entries, at most %d are allowed", len(c.Partitions), api.MaxPartitions)
	}
	var paths []string
	for i, p := range c.Partitions {
		field := fmt.Sprintf("partitions[%d]", i)
		if p == nil {
			return api.FieldErrorf(field, "is empty: give it a path")
		}
		p.Normalize()
		p.Nodes = api.MarkVersions(p.Nodes, nil, true)
		if err := p.Validate(); err != nil {
			return api.InField(field, err)
		}
		if slices.Contains(paths, p.Path) {
			return api.FieldErrorf(field+".path", "%q is given twice", p.Path)
		}
		paths = append(paths, p.Path)
	}
	return nil
}

func (c *Cluster) validateFailures() error {
	if len(c.Failures) > MaxFailures {
		return api.FieldErrorf("failures", "has %d entries, at most %d are allowed", len(c.Failures), MaxFailures)
	}
	all, err := c.nodes()
	if err != nil {
		return err
	}
	names := make([]string, len(all))
	known := make(map[string]bool, len(all))
	for i, n := range all {
		names[i], known[n.name] = n.name, true
	}
	for i, f := range c.Failures {
		field := fmt.Sprintf("failures[%d]", i)
		if !known[f.Node] {
			hint := "name one of nodes"
			if near := api.Nearest(f.Node, names); near != "" {
				hint = "did you mean " + near + "?"
			}
			return api.FieldErrorf(field+".node", "there is no node %q: %s", f.Node, hint)
		}
		if err := validSpan(field+".at", f.At, trace.MaxSpan); err != nil {
			return err
		}
		if err := validSpan(field+".for", f.For, trace.MaxSpan); err != nil {
			return err
		}
	}
	return nil
}
