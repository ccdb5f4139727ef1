package api

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Amounts is a vector of countable resources in which what is not named means
// nothing: no guarantee, no limit.
type Amounts struct {
	CPUs   MilliCPU          `json:"cpus,omitempty"`
	Mem    Bytes             `json:"mem,omitempty"`
	Disk   Bytes             `json:"disk,omitempty"`
	GPUs   int64             `json:"gpus,omitempty"`
	Custom map[string]Weight `json:"custom,omitempty"` // operator-declared scalars
}

// Keys says what the fields are, in their order.
func (Amounts) Keys() []Key {
	return []Key{
		key("cpus", "CPUs", "0", "8"),
		key("mem", "memory", "0", "32GiB"),
		key("disk", "disk", "0", "100GiB"),
		key("gpus", "GPUs", "0", "2"),
		key("custom", "resources that nodes are started with by --resources", "none", "{licenses: 3}"),
	}
}

// ParseAmounts reads "cpus=4,mem=8GiB,licence=3".
func ParseAmounts(s string) (Amounts, error) {
	r, err := ParseResources(s)
	if err != nil {
		return Amounts{}, err
	}
	if len(r.Ports) > 0 {
		return Amounts{}, FieldErrorf("ports", "cannot be shared by amount: name cpus, mem, disk, gpus or a scalar of your own")
	}
	for k, q := range r.Custom {
		if q.Ranges != nil || q.Set != nil {
			return Amounts{}, FieldErrorf(k, "%s is not an amount: write a number", q)
		}
	}
	a := AmountsOf(r)
	return a, a.Validate()
}

// AmountsOf is the countable part of a resource vector.
func AmountsOf(r Resources) Amounts {
	a := Amounts{CPUs: r.CPUs, Mem: r.Mem, Disk: r.Disk, GPUs: r.GPUs}
	for k, q := range r.Custom {
		if q.Scalar != 0 {
			if a.Custom == nil {
				a.Custom = map[string]Weight{}
			}
			a.Custom[k] = Weight(q.Scalar)
		}
	}
	return a
}

// Each yields the amounts that are named, in a fixed order.
func (a Amounts) Each(yield func(name string, v int64) bool) {
	if a.CPUs != 0 && !yield("cpus", int64(a.CPUs)) || a.Mem != 0 && !yield("mem", int64(a.Mem)) ||
		a.Disk != 0 && !yield("disk", int64(a.Disk)) || a.GPUs != 0 && !yield("gpus", a.GPUs) || len(a.Custom) == 0 {
		return
	}
	for _, k := range slices.Sorted(maps.Keys(a.Custom)) {
		if a.Custom[k] != 0 && !yield(k, int64(a.Custom[k])) {
			return
		}
	}
}

// Of is the amount of one resource, 0 if it is not named.
func (a Amounts) Of(name string) int64 {
	switch name {
	case "cpus":
		return int64(a.CPUs)
	case "mem":
		return int64(a.Mem)
	case "disk":
		return int64(a.Disk)
	case "gpus":
		return a.GPUs
	}
	return int64(a.Custom[name])
}

// With is a with another amount of one resource.
func (a Amounts) With(name string, v int64) Amounts {
	switch name {
	case "cpus":
		a.CPUs = MilliCPU(v)
	case "mem":
		a.Mem = Bytes(v)
	case "disk":
		a.Disk = Bytes(v)
	case "gpus":
		a.GPUs = v
	default:
		a.Custom = maps.Clone(a.Custom)
		if a.Custom == nil {
			a.Custom = map[string]Weight{}
		}
		if a.Custom[name] = Weight(v); v == 0 {
			delete(a.Custom, name)
		}
	}
	return a
}

// IsZero reports whether nothing is named.
func (a Amounts) IsZero() bool {
	for range a.Each {
		return false
	}
	return true
}

// Add is a + b.
func (a Amounts) Add(b Amounts) Amounts {
	for k, v := range b.Each {
		a = a.With(k, a.Of(k)+v)
	}
	return a
}

// FormatAmount writes an amount of that resource for a reader.
func FormatAmount(name string, v int64) string {
	switch name {
	case "mem", "disk":
		return Bytes(v).String()
	case "gpus":
		return strconv.FormatInt(v, 10)
	}
	return MilliCPU(v).String()
}

// FormatAmounts writes two amounts of that resource so that they can be told
// apart.
func FormatAmounts(name string, a, b int64) (string, string) {
	if name == "mem" || name == "disk" {
		return apart(Bytes(a), Bytes(b))
	}
	return FormatAmount(name, a), FormatAmount(name, b)
}

// ExactAmount writes an amount of that resource as a command reads it.
func ExactAmount(name string, v int64) string {
	if name == "mem" || name == "disk" {
		return Bytes(v).Exact()
	}
	return FormatAmount(name, v)
}

func (a Amounts) String() string { return a.text(FormatAmount) }

// Exact is the form of which ParseAmounts makes the same.
func (a Amounts) Exact() string { return a.text(ExactAmount) }

func (a Amounts) text(format func(name string, v int64) string) string {
	var parts []string
	for k, v := range a.Each {
		parts = append(parts, k+"="+format(k, v))
	}
	return strings.Join(parts, ",")
}

// over names the first amount of a that is above one named in b, "" if none.
func (a Amounts) over(b Amounts) string {
	for k, v := range a.Each {
		if most := b.Of(k); most != 0 && v > most {
			return k + "=" + FormatAmount(k, v) + " (of " + FormatAmount(k, most) + ")"
		}
	}
	return ""
}

func (a Amounts) orNothing(like Amounts) Amounts {
	for k := range like.Each {
		if a.Of(k) == 0 {
			a = a.With(k, -1)
		}
	}
	return a
}

// Validate checks that nothing is negative or beyond what mesita counts.
func (a Amounts) Validate() error {
	for k, v := range a.Each {
		if v < 0 {
			return FieldErrorf(k, "is negative: give an amount above zero")
		}
	}
	if a.Mem > maxBytes || a.Disk > maxBytes || a.GPUs > 1<<20 || a.CPUs > 1<<20*1000 {
		return FieldErrorf("cpus", "%s is more than mesita counts", a)
	}
	if len(a.Custom) > 64 {
		return FieldErrorf("custom", "has %d resources, at most 64 are allowed", len(a.Custom))
	}
	for k := range a.Custom {
		if err := validateCustomName(k); err != nil {
			return err
		}
	}
	return nil
}

// Weight is a decimal number in thousandths.
type Weight int64

// Float is the number.
func (w Weight) Float() float64 { return float64(w) / 1000 }

func (w Weight) String() string { return MilliCPU(w).String() }

// MarshalJSON writes a number.
func (w Weight) MarshalJSON() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalJSON reads a number, or a string with one.
func (w *Weight) UnmarshalJSON(b []byte) error {
	v, err := ParseWeight(unquote(b))
	if err == nil {
		*w = v
	}
	return err
}

// ParseWeight reads a number such as 2 or 0.5.
func ParseWeight(s string) (Weight, error) {
	v, err := ParseCPU(s)
	if err != nil || strings.HasSuffix(s, "m") {
		return 0, Errorf(CodeInvalid, "%q is not a number from 0.001 to %d: write 2 or 0.5", s, maxCPUs)
	}
	return Weight(v), nil
}
