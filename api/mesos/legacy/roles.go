package legacy

import (
	"net"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/rows"
)

// partitions are those that the caller sees.
func (p *page) partitions(yield func(*api.Partition) bool) { partitionsOf(p.Rows, yield) }

func partitionsOf(p *rows.Rows, yield func(*api.Partition) bool) {
	for part := range p.View.Partitions() {
		if p.SeesPartition(part.Path) && !yield(part) {
			return
		}
	}
}

// roles writes partitions, those below each not counted with it.
func (p *page) roles() {
	in := map[string][]string{}
	for f := range p.View.Frameworks() {
		if f.Ended.IsZero() {
			for _, path := range f.Partitions {
				in[path] = append(in[path], f.ID)
			}
		}
	}
	p.open("", '{')
	p.open("roles", '[')
	for part := range p.partitions {
		u := p.View.Usage(part.Path)
		all := u.Allocated.Add(u.Offered)
		p.open("", '{')
		p.text("name", rows.Role(part.Path))
		p.number("weight", part.Weight.Float())
		p.texts("frameworks", in[part.Path])
		p.resources("resources", &all)
		p.resources("allocated", &u.Allocated)
		p.resources("offered", &u.Offered)
		p.open("quota", '{')
		p.text("role", rows.Role(part.Path))
		p.amounts("guarantee", part.Guaranteed())
		p.amounts("limit", part.Limit)
		p.resources("consumed", &u.Allocated)
		p.close('}')
		p.close('}')
	}
	p.close(']')
	p.close('}')
}

// amounts writes those that are named.
func (w *writer) amounts(name string, a api.Amounts) {
	w.open(name, '{')
	a.Each(func(resource string, n int64) bool {
		w.number(resource, amount(resource, n))
		return true
	})
	w.close('}')
}

// amount is one of Amounts as Mesos counts.
func amount(resource string, n int64) float64 {
	switch resource {
	case "mem", "disk":
		return mebibytes(api.Bytes(n))
	case "gpus":
		return float64(n)
	}
	return float64(n) / 1000
}

// quota writes what partitions are guaranteed.
func (p *page) quota() {
	p.open("", '{')
	p.open("infos", '[')
	for part := range p.partitions {
		a := part.Guaranteed()
		if a.IsZero() {
			continue
		}
		p.open("", '{')
		p.text("role", rows.Role(part.Path))
		p.open("guarantee", '[')
		a.Each(func(resource string, n int64) bool {
			p.resource(resource, "*", "SCALAR")
			p.open("scalar", '{')
			p.number("value", amount(resource, n))
			p.close('}')
			p.close('}')
			return true
		})
		p.close(']')
		p.close('}')
	}
	p.close(']')
	p.close('}')
}

// weights writes those that are not the usual.
func (p *page) weights() {
	p.open("", '[')
	for part := range p.partitions {
		if part.Weight == api.DefaultWeight {
			continue
		}
		p.open("", '{')
		p.text("role", rows.Role(part.Path))
		p.number("weight", part.Weight.Float())
		p.close('}')
	}
	p.close(']')
}

// schedule is empty: nodes are drained when it is asked for, and not by a timetable.
func (p *page) schedule() {
	p.open("", '{')
	p.close('}')
}

// maintenance writes the nodes that are drained, apart those on which nothing runs any more.
func (p *page) maintenance() {
	p.open("", '{')
	p.open("draining_machines", '[')
	for n, empty := range p.Drained() {
		if !empty {
			p.open("", '{')
			p.open("id", '{')
			p.machine(n)
			p.close('}')
			p.close('}')
		}
	}
	p.close(']')
	p.open("down_machines", '[')
	for n, empty := range p.Drained() {
		if empty {
			p.open("", '{')
			p.machine(n)
			p.close('}')
		}
	}
	p.close(']')
	p.close('}')
}

func (w *writer) machine(n *api.Node) {
	w.text("hostname", n.Name)
	if ip, _, err := net.SplitHostPort(n.Addr); err == nil {
		w.text("ip", ip)
	}
}
