package legacy

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
)

// mebibytes are an amount as Mesos counts, in thousandths, rounded down: nobody is told of
// more than there is.
func mebibytes(b api.Bytes) float64 {
	const unit = 1 << 20
	return float64(int64(b)/unit*1000+int64(b)%unit*1000/unit) / 1000
}

// resources writes an amount of each resource, the usual ones also if there is none.
func (w *writer) resources(name string, r *api.Resources) {
	w.open(name, '{')
	w.number("cpus", r.CPUs.Cores())
	w.number("gpus", float64(r.GPUs))
	w.number("mem", mebibytes(r.Mem))
	w.number("disk", mebibytes(r.Disk))
	if len(r.Ports) > 0 {
		w.text("ports", ranges(r.Ports))
	}
	for _, k := range slices.Sorted(maps.Keys(r.Custom)) {
		switch q := r.Custom[k]; {
		case len(q.Ranges) > 0:
			w.text(k, ranges(q.Ranges))
		case len(q.Set) > 0:
			w.text(k, "{"+strings.Join(q.Set, ", ")+"}")
		default:
			w.number(k, float64(q.Scalar)/1000)
		}
	}
	w.close('}')
}

func ranges(r api.Ranges) string {
	b := []byte{'['}
	for i, x := range r {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendInt(b, x.First, 10)
		b = append(b, '-')
		b = strconv.AppendInt(b, x.Last, 10)
	}
	return string(append(b, ']'))
}

// full writes resources of a role as Mesos' messages have them.
func (w *writer) full(name, role string, r *api.Resources) {
	w.open(name, '[')
	scalar := func(name string, v float64) {
		if v == 0 {
			return
		}
		w.resource(name, role, "SCALAR")
		w.open("scalar", '{')
		w.number("value", v)
		w.close('}')
		w.close('}')
	}
	scalar("cpus", r.CPUs.Cores())
	scalar("gpus", float64(r.GPUs))
	scalar("mem", mebibytes(r.Mem))
	scalar("disk", mebibytes(r.Disk))
	if len(r.Ports) > 0 {
		w.ranges("ports", role, r.Ports)
	}
	for _, k := range slices.Sorted(maps.Keys(r.Custom)) {
		switch q := r.Custom[k]; {
		case len(q.Ranges) > 0:
			w.ranges(k, role, q.Ranges)
		case len(q.Set) > 0:
			w.resource(k, role, "SET")
			w.open("set", '{')
			w.texts("item", q.Set)
			w.close('}')
			w.close('}')
		default:
			scalar(k, float64(q.Scalar)/1000)
		}
	}
	w.close(']')
}

// resource begins one of a list.
func (w *writer) resource(name, role, kind string) {
	w.open("", '{')
	w.text("name", name)
	w.text("type", kind)
	w.text("role", role)
}

func (w *writer) ranges(name, role string, r api.Ranges) {
	w.resource(name, role, "RANGES")
	w.open("ranges", '{')
	w.open("range", '[')
	for _, x := range r {
		w.open("", '{')
		w.count("begin", int(x.First))
		w.count("end", int(x.Last))
		w.close('}')
	}
	w.close(']')
	w.close('}')
	w.close('}')
}

// sum adds up what can be: ports and words of two holders are not an amount.
func sum(a, b api.Resources) api.Resources {
	b.Ports = nil
	if len(b.Custom) > 0 {
		scalars := map[string]api.Quantity{}
		for k, q := range b.Custom {
			if q.Scalar != 0 {
				scalars[k] = api.Quantity{Scalar: q.Scalar}
			}
		}
		b.Custom = scalars
	}
	return a.Add(b)
}
