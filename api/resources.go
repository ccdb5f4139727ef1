package api

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Quantity is an amount of one operator-declared resource: a scalar (in
// thousandths), a set of numbers (ranges) or a set of words. In JSON a scalar
// is a number, ranges are a string "1-5,9", a set is a list of strings.
type Quantity struct {
	Scalar int64    `json:"scalar,omitempty"` // thousandths
	Ranges Ranges   `json:"ranges,omitempty"`
	Set    []string `json:"set,omitempty"` // sorted, no double
}

// Resources is a resource vector. On a node it is what the node has; on a task
// it is what the task holds.
type Resources struct {
	CPUs MilliCPU `json:"cpus"`
	// Pins are the whole CPUs, of those in CPUs, that a task has for its own. On a
	// node it is how many it can give so.
	Pins int64 `json:"pins,omitempty"`
	Mem  Bytes `json:"mem"` // guaranteed to a task
	// MemExtra is what a task may use beyond Mem while there is room. On a node it
	// is by how much the limits of its tasks together may exceed its Mem; what is
	// left of it may be below zero, as memory that is free serves, too.
	MemExtra Bytes               `json:"memExtra,omitempty"`
	Disk     Bytes               `json:"disk,omitempty"`
	GPUs     int64               `json:"gpus,omitempty"`
	Ports    Ranges              `json:"ports,omitempty"`
	Custom   map[string]Quantity `json:"custom,omitempty"`
}

// MarshalJSON writes a number, a string of ranges or a list of words.
func (q Quantity) MarshalJSON() ([]byte, error) {
	switch {
	case q.Ranges != nil:
		return json.Marshal(q.Ranges)
	case q.Set != nil:
		return json.Marshal(q.Set)
	}
	return []byte(MilliCPU(q.Scalar).String()), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (q *Quantity) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case []any:
		words := make([]string, 0, len(v))
		for _, w := range v {
			s, ok := w.(string)
			if !ok {
				return Errorf(CodeInvalid, "a set holds strings, not %v", w)
			}
			words = append(words, s)
		}
		*q = Quantity{Set: sortedSet(words)}
		return nil
	}
	parsed, err := ParseQuantity(unquote(b))
	*q = parsed
	return err
}

// ParseQuantity reads "2", "0.5", "1-5,9" or "{a,b}".
func ParseQuantity(s string) (Quantity, error) {
	s = strings.TrimSpace(s)
	if in, ok := strings.CutPrefix(s, "{"); ok {
		in, ok = strings.CutSuffix(in, "}")
		if !ok || in == "" {
			return Quantity{}, Errorf(CodeInvalid, "%q is not a set: write {a,b}", s)
		}
		return Quantity{Set: sortedSet(strings.Split(in, ","))}, nil
	}
	if strings.ContainsAny(s, "-,[") && !strings.HasPrefix(s, "-") {
		r, err := ParseRanges(s)
		return Quantity{Ranges: r}, err
	}
	c, err := ParseCPU(s)
	if err != nil {
		return Quantity{}, Errorf(CodeInvalid, "%q is not an amount: write a number, 1-5,9 or {a,b}", s)
	}
	return Quantity{Scalar: int64(c)}, nil
}

func sortedSet(words []string) []string {
	for i := range words {
		words[i] = strings.TrimSpace(words[i])
	}
	slices.Sort(words)
	return slices.Compact(words)
}

func (q Quantity) isZero() bool { return q.Scalar == 0 && len(q.Ranges) == 0 && len(q.Set) == 0 }

func (q Quantity) add(o Quantity) Quantity {
	q.Scalar += o.Scalar
	q.Ranges = q.Ranges.Union(o.Ranges)
	if len(o.Set) > 0 {
		q.Set = sortedSet(append(slices.Clone(q.Set), o.Set...))
	}
	return q
}

func (q Quantity) minus(o Quantity) Quantity {
	q.Scalar -= o.Scalar
	q.Ranges = q.Ranges.Minus(o.Ranges)
	if len(o.Set) > 0 {
		q.Set = slices.DeleteFunc(slices.Clone(q.Set), func(w string) bool { return slices.Contains(o.Set, w) })
	}
	return q
}

func (q Quantity) contains(o Quantity) bool {
	if o.Scalar > q.Scalar || !q.Ranges.Contains(o.Ranges) {
		return false
	}
	for _, w := range o.Set {
		if !slices.Contains(q.Set, w) {
			return false
		}
	}
	return true
}

func (q Quantity) String() string {
	switch {
	case len(q.Ranges) > 0:
		return q.Ranges.String()
	case len(q.Set) > 0:
		return "{" + strings.Join(q.Set, ",") + "}"
	}
	return MilliCPU(q.Scalar).String()
}

// Add is r + o.
func (r Resources) Add(o Resources) Resources {
	r.CPUs += o.CPUs
	r.Pins += o.Pins
	r.Mem += o.Mem
	r.MemExtra += o.MemExtra
	r.Disk += o.Disk
	r.GPUs += o.GPUs
	if len(o.Ports) > 0 {
		r.Ports = r.Ports.Union(o.Ports)
	}
	r.Custom = combine(r.Custom, o.Custom, Quantity.add)
	return r
}

// Minus is r - o. Scalars may go below zero: Fits first.
func (r Resources) Minus(o Resources) Resources {
	r.CPUs -= o.CPUs
	r.Pins -= o.Pins
	r.Mem -= o.Mem
	r.MemExtra -= o.MemExtra
	r.Disk -= o.Disk
	r.GPUs -= o.GPUs
	if len(o.Ports) > 0 {
		r.Ports = r.Ports.Minus(o.Ports)
	}
	r.Custom = combine(r.Custom, o.Custom, Quantity.minus)
	return r
}

func combine(a, b map[string]Quantity, op func(Quantity, Quantity) Quantity) map[string]Quantity {
	if len(b) == 0 {
		return a
	}
	out := maps.Clone(a)
	if out == nil {
		out = make(map[string]Quantity, len(b))
	}
	for k, v := range b {
		if n := op(out[k], v); n.isZero() {
			delete(out, k)
		} else {
			out[k] = n
		}
	}
	return out
}

// MemLimit is the most memory that may be used: of a task, or by the limits of
// all tasks of a node together.
func (r Resources) MemLimit() Bytes { return r.Mem + r.MemExtra }

// Times is n times what can be counted; ports and other sets, of which there is
// one of each, are left out.
func (r Resources) Times(n int) Resources {
	k := int64(n)
	r.CPUs, r.Pins, r.Mem, r.MemExtra, r.Disk, r.GPUs, r.Ports = r.CPUs*MilliCPU(k), r.Pins*k, r.Mem*Bytes(k), r.MemExtra*Bytes(k), r.Disk*Bytes(k), r.GPUs*k, nil
	if len(r.Custom) > 0 {
		custom := map[string]Quantity{}
		for name, q := range r.Custom {
			if q.Scalar != 0 {
				custom[name] = Quantity{Scalar: q.Scalar * k}
			}
		}
		r.Custom = custom
	}
	return r
}

// Least is of each amount the smaller one; numbers and names are left out.
func (r Resources) Least(o Resources) Resources {
	r.CPUs, r.Pins, r.Mem, r.MemExtra, r.Disk, r.GPUs, r.Ports = min(r.CPUs, o.CPUs), min(r.Pins, o.Pins), min(r.Mem, o.Mem), min(r.MemExtra, o.MemExtra), min(r.Disk, o.Disk), min(r.GPUs, o.GPUs), nil
	custom := map[string]Quantity{}
	for name, q := range r.Custom {
		if n := min(q.Scalar, o.Custom[name].Scalar); n != 0 {
			custom[name] = Quantity{Scalar: n}
		}
	}
	r.Custom = custom
	return r
}

// Lacking is as much of r as there is too little of in has for need: a whole quantity where
// it is not an amount.
func (r Resources) Lacking(need, has Resources) (out Resources) {
	out.CPUs = min(r.CPUs, max(need.CPUs-has.CPUs, 0))
	out.Mem, out.Disk = min(r.Mem, max(need.MemLimit()-has.MemLimit(), 0)), min(r.Disk, max(need.Disk-has.Disk, 0))
	out.GPUs, out.Ports = min(r.GPUs, max(need.GPUs-has.GPUs, 0)), r.Ports.Minus(has.Ports)
	for name, q := range r.Custom {
		switch want, is := need.Custom[name], has.Custom[name]; {
		case is.contains(want):
			continue
		case q.kind() == is.kind() && q.Scalar > 0:
			q.Scalar = min(q.Scalar, want.Scalar-is.Scalar)
		}
		out = out.Add(Resources{Custom: map[string]Quantity{name: q}})
	}
	return out
}

// Short is one resource of which there is too little.
type Short struct {
	Resource string `json:"resource"`
	Need     string `json:"need"`
	Have     string `json:"have"`
	Kind     string `json:"kind,omitempty"` // what there is, if it is not an amount where one is needed, or the like
}

func (s Short) String() string {
	switch s.Resource {
	case "ports":
		return "needs port " + s.Need + ", which another task has"
	case "pins":
		return "needs " + amount(s.Need, "cpus") + " of its own, " + s.Have + " left to pin"
	}
	if s.Kind != "" {
		return "needs " + s.Resource + "=" + s.Need + ", and its " + s.Resource + " is " + s.Kind + ": " + s.Have + " free"
	}
	return "needs " + amount(s.Need, s.Resource) + ", " + s.Have + " free"
}

// kind says whether a quantity is an amount, ranges or a set.
func (q Quantity) kind() string {
	switch {
	case len(q.Ranges) > 0:
		return "ranges"
	case len(q.Set) > 0:
		return "a set"
	}
	return "an amount"
}

func shortOf(name string, need, have Bytes) Short {
	n, h := apart(need, have)
	return Short{Resource: name, Need: n, Have: h}
}

// Has is what there is of it.
func (s Short) Has() string { return amount(s.Have, s.Resource) }

// Missing names the first resource that r has too little of to hold need; ok
// is true when need fits.
func (r Resources) Missing(need Resources) (short Short, ok bool) {
	switch {
	case need.CPUs > r.CPUs:
		return Short{Resource: "cpus", Need: need.CPUs.String(), Have: r.CPUs.String()}, false
	case need.Pins > r.Pins:
		return Short{Resource: "pins", Need: strconv.FormatInt(need.Pins, 10), Have: strconv.FormatInt(r.Pins, 10)}, false
	case need.Mem > r.Mem:
		return shortOf("mem", need.Mem, r.Mem), false
	case need.MemLimit() > r.MemLimit():
		return shortOf("memLimit", need.MemLimit(), r.MemLimit()), false
	case need.Disk > r.Disk:
		return shortOf("disk", need.Disk, r.Disk), false
	case need.GPUs > r.GPUs:
		return Short{Resource: "gpus", Need: strconv.FormatInt(need.GPUs, 10), Have: strconv.FormatInt(r.GPUs, 10)}, false
	case len(need.Ports) > 0 && !r.Ports.Contains(need.Ports):
		return Short{Resource: "ports", Need: need.Ports.String(), Have: "not"}, false
	}
	if len(need.Custom) == 0 {
		return Short{}, true
	}
	for _, k := range slices.Sorted(maps.Keys(need.Custom)) {
		if !r.Custom[k].contains(need.Custom[k]) {
			s := Short{Resource: k, Need: need.Custom[k].String(), Have: r.Custom[k].String()}
			if has := r.Custom[k]; !has.isZero() && has.kind() != need.Custom[k].kind() {
				s.Kind = has.kind()
			}
			return s, false
		}
	}
	return Short{}, true
}

// Fits reports whether r can hold need.
func (r Resources) Fits(need Resources) bool {
	_, ok := r.Missing(need)
	return ok
}

// Equal reports whether both vectors are the same.
func (r Resources) Equal(o Resources) bool { return r.Fits(o) && o.Fits(r) }

func (r Resources) String() string {
	parts := []string{"cpus=" + r.CPUs.String()}
	if r.Pins != 0 {
		parts = append(parts, "pins="+strconv.FormatInt(r.Pins, 10))
	}
	parts = append(parts, "mem="+r.Mem.String())
	if r.MemExtra != 0 {
		parts = append(parts, "memLimit="+r.MemLimit().String())
	}
	if r.Disk != 0 {
		parts = append(parts, "disk="+r.Disk.String())
	}
	if r.GPUs != 0 {
		parts = append(parts, "gpus="+strconv.FormatInt(r.GPUs, 10))
	}
	if len(r.Ports) > 0 {
		parts = append(parts, "ports="+r.Ports.String())
	}
	for _, k := range slices.Sorted(maps.Keys(r.Custom)) {
		parts = append(parts, k+"="+r.Custom[k].String())
	}
	return strings.Join(parts, ",")
}

// ParseResources reads what --resources takes: "cpus=4,mem=8GiB,disk=50GiB,
// ports=20000-20999,gpus=1,licence=3,lane=1-4,zone={a,b}". A part with no "="
// continues the ranges or the set before it.
func ParseResources(s string) (Resources, error) {
	var r Resources
	if strings.TrimSpace(s) == "" {
		return r, nil
	}
	var keys, vals []string
	for _, part := range strings.Split(s, ",") {
		if k, v, ok := strings.Cut(part, "="); ok {
			keys, vals = append(keys, strings.TrimSpace(k)), append(vals, v)
		} else if len(vals) == 0 {
			return r, Errorf(CodeInvalid, "%q is not key=value", part)
		} else {
			vals[len(vals)-1] += "," + part
		}
	}
	for i, k := range keys {
		if slices.Contains(keys[:i], k) {
			return r, FieldErrorf(k, "is given twice")
		}
		if err := r.set(k, vals[i]); err != nil {
			return r, InField(k, err)
		}
	}
	return r, nil
}

func (r *Resources) set(key, val string) (err error) {
	switch key {
	case "cpus":
		r.CPUs, err = ParseCPU(val)
	case "mem":
		r.Mem, err = ParseBytes(val)
	case "disk":
		r.Disk, err = ParseBytes(val)
	case "gpus":
		r.GPUs, err = strconv.ParseInt(val, 10, 32)
		if err != nil {
			err = Errorf(CodeInvalid, "%q is not a whole number", val)
		}
	case "ports":
		r.Ports, err = ParseRanges(val)
	default:
		if err := validateCustomName(key); err != nil {
			return err
		}
		var q Quantity
		if q, err = ParseQuantity(val); err == nil {
			if r.Custom == nil {
				r.Custom = map[string]Quantity{}
			}
			r.Custom[key] = q
		}
	}
	return err
}

// slips are names that people write for a resource that is called otherwise.
var slips = map[string]string{"cpu": "cpus", "core": "cpus", "cores": "cpus", "memory": "mem", "ram": "mem", "gpu": "gpus", "port": "ports", "storage": "disk"}

// CheckCustom refuses custom resources that are slips of others: a limit on cpu
// would bound nothing. What is kept already is not asked.
func CheckCustom[V any](custom map[string]V) error {
	for _, k := range slices.Sorted(maps.Keys(custom)) {
		if meant := slips[strings.ToLower(k)]; meant != "" {
			return Errorf(CodeInvalid, "%s is not a resource: did you mean %s?", k, meant)
		}
	}
	return nil
}

func validateCustomName(k string) error {
	return ValidateName("resource", strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(k)))
}

// Validate checks that nothing is negative and the sizes are sane.
func (r Resources) Validate() error {
	for _, f := range []struct {
		name string
		v    int64
	}{{"cpus", int64(r.CPUs)}, {"pins", r.Pins}, {"mem", int64(r.Mem)}, {"memExtra", int64(r.MemExtra)}, {"disk", int64(r.Disk)}, {"gpus", r.GPUs}} {
		if f.v < 0 {
			return FieldErrorf(f.name, "is negative: give an amount above zero")
		}
	}
	if r.CPUs > maxCPUs*1000 {
		return FieldErrorf("cpus", "%s is more than mesita counts (%d)", r.CPUs, maxCPUs)
	}
	if n := len(r.Ports); n > 0 && r.Ports[n-1].Last > 65535 {
		return FieldErrorf("ports", "%d is not a port: 1 to 65535", r.Ports[n-1].Last)
	}
	if len(r.Custom) > 64 {
		return FieldErrorf("custom", "has %d resources, at most 64 are allowed", len(r.Custom))
	}
	for k, q := range r.Custom {
		if err := validateCustomName(k); err != nil {
			return err
		}
		if q.Scalar < 0 {
			return FieldErrorf(k, "is negative: give an amount above zero")
		}
	}
	return nil
}
