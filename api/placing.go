package api

import (
	"fmt"
	"maps"
)

// This file has the rules of where a task may go: what its partition and its job
// ask of a node, and of what runs there. The scheduler chooses by them, and the
// state takes no placement that breaks one.

// AttrNodeName stands for a node's name where an attribute is named.
const AttrNodeName = "node.name"

// Attr is an attribute of the node, "" if it has none of that name.
func (n *Node) Attr(name string) string {
	if name == AttrNodeName {
		return n.Name
	}
	return n.Attrs[name]
}

// Unmet says which condition a node does not meet, "" if it meets all: of the
// partition (nil: none), then of the job.
func (n *Node) Unmet(part *Partition, spec *JobSpec) string {
	if part != nil {
		for _, c := range part.Nodes {
			if !c.Match(n.Name, n.Attrs) {
				return "is not of partition " + part.Path + " (" + c.String() + ")"
			}
		}
	}
	for _, c := range spec.Constraints {
		if !c.Match(n.Name, n.Attrs) {
			if c.Attr == AttrAllowRoot {
				return "allows users no root: start it with --allow-root, or have an admin of the cluster submit the job with --user " + spec.RunsAs()
			}
			return c.Unmet(n.Name, n.Attrs)
		}
	}
	return ""
}

// Incomparable says why the first comparison that the node does not meet, of the
// partition (nil: none) or of the job, compares with nothing that it has; "" if it does.
func (n *Node) Incomparable(part *Partition, spec *JobSpec) string {
	all := spec.Constraints
	if part != nil {
		all = append(part.Nodes[:len(part.Nodes):len(part.Nodes)], all...)
	}
	for _, c := range all {
		if !c.Match(n.Name, n.Attrs) {
			return c.incomparable(n.Name, n.Attrs)
		}
	}
	return ""
}

// Unable says which kind of resource a node never gives, of those that a job asks
// for; "" if it gives all.
func (n *Node) Unable(spec *JobSpec) string {
	if spec.MemLimit > spec.Mem {
		if why := n.lendsNone(); why != "" {
			return why
		}
	}
	if spec.Pin && n.Resources.Pins == 0 {
		return n.pinsNone()
	}
	return ""
}

// lendsNone says why no task of a node may use more memory than its own, "" if
// one may.
func (n *Node) lendsNone() string {
	if mode := n.Attrs["isolation.mode"]; mode != "unified" || n.Attrs["isolation.memory"] != "yes" {
		return "has no cgroup v2 that limits memory, so it could not keep what others are guaranteed from a task whose --mem-limit is above its --mem: boot it with systemd.unified_cgroup_hierarchy=1"
	}
	if n.Resources.MemExtra == 0 {
		return "lets no task use more than its mem: its --mem-overcommit is 1"
	}
	return ""
}

// pinsNone says why a node gives no task CPUs of its own.
func (n *Node) pinsNone() string {
	if n.Attrs["isolation.cpuset"] != "yes" {
		return "has no cpuset controller that it can write to, so it can give no task CPUs of its own"
	}
	return fmt.Sprintf("can give no task CPUs of its own: it needs two, and to offer no more than it has (it offers %s)", n.Resources.CPUs)
}

// Neighbours is where the jobs are that a job wants to be with, or away from.
type Neighbours struct {
	wants []Affinity
	at    []map[string]bool // for each, the values of its attribute where they are
	self  string
}

// NewNeighbours knows of no task yet.
func NewNeighbours(spec *JobSpec) *Neighbours {
	n := &Neighbours{wants: spec.Affinity, self: spec.Name}
	for range spec.Affinity {
		n.at = append(n.at, map[string]bool{})
	}
	return n
}

// Note notes a task of a job on a node, and reports whether that changes where the
// job may go.
func (n *Neighbours) Note(job string, node *Node) (changed bool) {
	for i, a := range n.wants {
		if at := a.placeOf(node); a.Job == job && !n.at[i][at] {
			n.at[i][at], changed = true, true
		}
	}
	return changed
}

// Clone is a copy that continues by itself.
func (n *Neighbours) Clone() *Neighbours {
	if n == nil {
		return nil
	}
	c := *n
	c.at = make([]map[string]bool, len(n.at))
	for i := range n.at {
		c.at[i] = maps.Clone(n.at[i])
	}
	return &c
}

func (a *Affinity) placeOf(n *Node) string {
	if a.Attr == "" {
		return n.ID
	}
	return n.Attr(a.Attr)
}

// Check counts the wishes that a node does not meet; against is what keeps the job
// off it, nil if nothing does.
func (n *Neighbours) Check(node *Node) (missed int, against *Affinity) {
	for i := range n.wants {
		a := &n.wants[i]
		alone := !a.Away && a.Job == n.self && len(n.at[i]) == 0 // the first of a job that wants to be with itself
		switch {
		case alone || n.at[i][a.placeOf(node)] != a.Away:
		case a.Soft:
			missed++
		default:
			return missed, a
		}
	}
	return missed, nil
}
