package rows

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// mebibyte is the unit of mem and disk.
const mebibyte = 1 << 20

// FromMilli is an amount of thousandths, which is as exactly as Mesos counts.
func FromMilli(n int64) *v1.ValueScalar { return &v1.ValueScalar{Value: float64(n) / 1000} }

// Milli is an amount in thousandths.
func Milli(v float64) int64 { return int64(math.Round(v * 1000)) }

// megabytes is a size in thousandths of the unit of Mesos, rounded down.
func megabytes(b api.Bytes) int64 {
	n := int64(b)
	return n/mebibyte*1000 + n%mebibyte*1000/mebibyte
}

// Bytes is a thousandth of so many megabytes, rounded up: who is told it again is told the
// same.
func Bytes(thousandths int64) api.Bytes {
	return api.Bytes(thousandths/1000*mebibyte + (thousandths%1000*mebibyte+999)/1000)
}

// Form is in which of the ways of Mesos resources are said.
type Form struct {
	Role string // to which they are allocated; "" = that is not said
	// Refined is for who knows stacks of reservations: all others are told that what
	// nobody has reserved is of the role *.
	Refined bool
	NoGPUs  bool
}

// Resources are amounts as Mesos says them.
func Resources(r api.Resources, in Form) (out []*v1.Resource) {
	add := func(m *v1.Resource) {
		if in.Role != "" {
			m.AllocationInfo = &v1.ResourceAllocationInfo{Role: &in.Role}
		}
		if !in.Refined {
			m.Role = new("*")
		}
		out = append(out, m)
	}
	scalar := func(name string, n int64) {
		if n > 0 {
			add(&v1.Resource{Name: name, Type: v1.ValueTypeScalar, Scalar: FromMilli(n)})
		}
	}
	scalar("cpus", int64(r.CPUs))
	scalar("mem", megabytes(r.Mem))
	scalar("disk", megabytes(r.Disk))
	if !in.NoGPUs {
		scalar("gpus", r.GPUs*1000)
	}
	if len(r.Ports) > 0 {
		add(&v1.Resource{Name: "ports", Type: v1.ValueTypeRanges, Ranges: rangesOf(r.Ports)})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Custom)) {
		switch q := r.Custom[name]; {
		case len(q.Ranges) > 0:
			add(&v1.Resource{Name: name, Type: v1.ValueTypeRanges, Ranges: rangesOf(q.Ranges)})
		case len(q.Set) > 0:
			add(&v1.Resource{Name: name, Type: v1.ValueTypeSet, Set: &v1.ValueSet{Item: q.Set}})
		default:
			scalar(name, q.Scalar)
		}
	}
	return out
}

func rangesOf(r api.Ranges) *v1.ValueRanges {
	m := &v1.ValueRanges{}
	for _, x := range r {
		m.Range = append(m.Range, &v1.ValueRange{Begin: uint64(x.First), End: uint64(x.Last)})
	}
	return m
}

// Amounts are countable amounts by their names.
func Amounts(a api.Amounts) map[string]*v1.ValueScalar {
	out := map[string]*v1.ValueScalar{}
	for name, n := range a.Each {
		switch name {
		case "mem", "disk":
			n = megabytes(api.Bytes(n))
		case "gpus":
			n *= 1000
		}
		out[name] = FromMilli(n)
	}
	return out
}

// byRole are amounts that are allocated to partitions.
type byRole map[string]api.Resources

func (b byRole) add(partition string, r api.Resources) { b[partition] = b[partition].Add(r) }

func (b byRole) resources() (out []*v1.Resource) {
	for _, path := range slices.Sorted(maps.Keys(b)) {
		out = append(out, Resources(b[path], Form{Role: Role(path)})...)
	}
	return out
}

// attributes are those of a node by name.
func attributes(attrs map[string]string) (out []*v1.Attribute) {
	for name, value := range attrs {
		out = append(out, &v1.Attribute{Name: name, Type: v1.ValueTypeText, Text: &v1.ValueText{Value: value}})
	}
	slices.SortFunc(out, func(a, b *v1.Attribute) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
