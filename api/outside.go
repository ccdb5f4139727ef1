package api

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Outside is what programs that are not mesita's have of what a node has for
// tasks: it is free by the ledger, and nobody can be given it.
type Outside struct {
	Extra
	Mem   Bytes        `json:"mem,omitempty"`
	Ports []PortHolder `json:"ports,omitempty"` // by number
}

// PortHolder has some ports.
type PortHolder struct {
	Extra
	Ports Ranges `json:"ports"`
	By    string `json:"by,omitempty"` // such as "nginx (pid 812)"; "" if that is not known
}

const (
	// MaxPortHolders is how many are told of one node. There may be more: what is
	// not told is found out when a task is to start.
	MaxPortHolders = 64
	maxHolderPorts = 64 // ranges of one
	maxHolderText  = 80
)

// Validate checks what a node says that others have of it.
func (o *Outside) Validate() error {
	switch {
	case o == nil:
		return nil
	case o.Mem < 0:
		return FieldErrorf("mem", "%d is less than nothing", o.Mem)
	}
	return ValidateHolders(o.Ports)
}

// ValidateHolders checks who has which ports.
func ValidateHolders(all []PortHolder) error {
	if len(all) > MaxPortHolders {
		return FieldErrorf("ports", "has %d holders, at most %d are told", len(all), MaxPortHolders)
	}
	for _, h := range all {
		if n := len(h.Ports); n == 0 || n > maxHolderPorts || h.Ports[n-1].Last > 65535 || h.Ports[0].First < 0 || len(h.By) > maxHolderText {
			return FieldErrorf("ports", "%q has %s: that is not a list of at most %d ranges of ports with a name of at most %d bytes", h.By, h.Ports, maxHolderPorts, maxHolderText)
		}
	}
	return nil
}

// Holders lists who has which ports, by number and within the bounds of
// Validate.
func Holders(by map[string]Ranges) []PortHolder {
	var out []PortHolder
	for name, ports := range by {
		if len(ports) > 0 {
			out = append(out, PortHolder{Ports: ports[:min(len(ports), maxHolderPorts)], By: name[:min(len(name), maxHolderText)]})
		}
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := &out[i], &out[j]
		return cmp.Or(cmp.Compare(a.Ports[0].First, b.Ports[0].First), cmp.Compare(a.By, b.By)) < 0
	})
	return out[:min(len(out), MaxPortHolders)]
}

// With is o and what was found out of more ports. Neither is changed.
func (o *Outside) With(more []PortHolder) *Outside {
	next := &Outside{}
	by := map[string]Ranges{}
	if o != nil {
		next.Mem = o.Mem
		for _, h := range o.Ports {
			by[h.By] = by[h.By].Union(h.Ports)
		}
	}
	known := o.Resources().Ports
	for _, h := range more {
		by[h.By] = by[h.By].Union(h.Ports.Minus(known))
	}
	next.Ports = Holders(by)
	return next
}

// Resources is what o takes of a node.
func (o *Outside) Resources() Resources {
	var r Resources
	if o == nil {
		return r
	}
	r.Mem = o.Mem
	for _, h := range o.Ports {
		r.Ports = r.Ports.Union(h.Ports)
	}
	return r
}

// Equal reports whether two say the same; nil is that there is nothing to say.
func (o *Outside) Equal(p *Outside) bool {
	if o == nil || p == nil {
		return o.isZero() && p.isZero()
	}
	return o.Mem == p.Mem && slices.EqualFunc(o.Ports, p.Ports, func(a, b PortHolder) bool { return a.By == b.By && slices.Equal(a.Ports, b.Ports) })
}

func (o *Outside) isZero() bool { return o == nil || o.Mem == 0 && len(o.Ports) == 0 }

// Holder says who has a port of those, "" if none of them does.
func (o *Outside) Holder(of Ranges) string {
	if o == nil {
		return ""
	}
	for _, h := range o.Ports {
		both := h.Ports.Minus(h.Ports.Minus(of))
		if len(both) > 0 {
			return fmt.Sprintf("port %d is taken by %s", both[0].First, cmp.Or(h.By, "another program"))
		}
	}
	return ""
}

func (o *Outside) String() string {
	if o.isZero() {
		return "nothing"
	}
	var parts []string
	if o.Mem > 0 {
		parts = append(parts, "mem="+o.Mem.String())
	}
	for _, h := range o.Ports {
		parts = append(parts, "ports="+h.Ports.String()+" of "+cmp.Or(h.By, "another program"))
	}
	return strings.Join(parts, ", ")
}
