package wire

import (
	"cmp"
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// A plan is what the tags of a struct say, taken apart once.
type plan struct {
	typ      reflect.Type
	fields   []field  // in the order in which they are declared, that of JSON
	ordered  []*field // by number, that of protobuf
	names    map[string]*field
	required uint64 // the bits of all required fields
	text     bool   // JSON may have it as a string
}

type field struct {
	index    int
	number   protowire.Number
	name     string
	key      string // the name as it is in JSON, with its colon
	kind     kind
	shape    shape
	bit      uint64 // not 0 if required
	milli    bool
	fallback string // JSON of the default, if it is written though unset
	sub      *plan
	enum     *enum
}

// A kind is what one value of a field is.
type kind uint8

const (
	textKind kind = iota
	bytesKind
	boolKind
	signedKind
	unsignedKind
	doubleKind
	enumKind
	messageKind
)

// A shape is how many values a field has, and how Go holds them.
type shape uint8

const (
	plain    shape = iota // one, by value
	optional              // one, by a pointer; bytes and messages are always so
	repeated
	mapped
)

type enum struct {
	names   map[int32]string
	numbers map[string]int32
}

// plans remembers the plan of each type: a pure function of it, which takes
// long to compute.
var plans = struct {
	sync.RWMutex
	of map[reflect.Type]*plan
}{of: map[reflect.Type]*plan{}}

// planOf panics if the tags are wrong, which the tests of the messages show.
func planOf(t reflect.Type) *plan {
	plans.RLock()
	p := plans.of[t]
	plans.RUnlock()
	if p == nil {
		plans.Lock()
		defer plans.Unlock()
		p = build(t)
	}
	return p
}

// build needs the lock. It puts a plan into the map before it is whole, so that
// a message may hold one of its own type.
func build(t reflect.Type) *plan {
	if p := plans.of[t]; p != nil {
		return p
	}
	p := &plan{typ: t, names: map[string]*field{}, fields: make([]field, t.NumField())}
	plans.of[t] = p
	whole := false
	defer func() {
		if !whole {
			delete(plans.of, t) // the next one is to find out, too
		}
	}()
	p.text = reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
	for i := range p.fields {
		f := &p.fields[i]
		*f = newField(t.Field(i), i)
		if f.bit != 0 {
			f.bit = p.required + 1 // the next bit that is free
			p.required |= f.bit
		}
		p.names[f.name] = f
		p.ordered = append(p.ordered, f)
	}
	slices.SortFunc(p.ordered, func(a, b *field) int { return cmp.Compare(a.number, b.number) })
	whole = true
	return p
}

func (p *plan) byNumber(n protowire.Number) *field {
	if i := int(n) - 1; i < len(p.ordered) && p.ordered[i].number == n {
		return p.ordered[i] // as it is where no number is left out
	}
	i, ok := slices.BinarySearchFunc(p.ordered, n, func(f *field, n protowire.Number) int { return cmp.Compare(f.number, n) })
	if !ok {
		return nil
	}
	return p.ordered[i]
}

func newField(sf reflect.StructField, index int) field {
	parts := strings.Split(sf.Tag.Get("wire"), ",")
	number, err := strconv.Atoi(parts[0])
	if err != nil || len(parts) < 2 {
		panic(fmt.Sprintf("wire: field %s: its tag has no number and name", sf.Name))
	}
	f := field{index: index, number: protowire.Number(number), name: parts[1], key: `"` + parts[1] + `":`}
	f.look(sf.Type)
	def, hasDefault, deprecated := "", false, false
	for _, p := range parts[2:] {
		value, ok := strings.CutPrefix(p, "default=")
		switch {
		case ok:
			def, hasDefault = value, true
		case p == "required":
			f.bit = 1
		case p == "deprecated":
			deprecated = true
		case p == "milli":
			f.milli = true
		default:
			panic(fmt.Sprintf("wire: field %s: its tag says %q", sf.Name, p))
		}
	}
	if hasDefault && !deprecated && f.bit == 0 {
		f.fallback = f.defaultJSON(def)
	}
	return f
}

// look finds shape and kind in the Go type.
func (f *field) look(t reflect.Type) {
	switch {
	case t.Kind() == reflect.Map:
		f.shape, t = mapped, t.Elem()
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		f.shape, t = repeated, t.Elem()
	case t.Kind() == reflect.Slice:
		f.shape = optional
	}
	if t.Kind() == reflect.Pointer {
		if f.shape == plain {
			f.shape = optional
		}
		t = t.Elem()
	}
	if v, ok := reflect.Zero(t).Interface().(interface{ EnumNames() string }); ok {
		f.kind, f.enum = enumKind, newEnum(v.EnumNames())
		return
	}
	switch t.Kind() {
	case reflect.String:
		f.kind = textKind
	case reflect.Slice:
		f.kind = bytesKind
	case reflect.Bool:
		f.kind = boolKind
	case reflect.Int32, reflect.Int64:
		f.kind = signedKind
	case reflect.Uint32, reflect.Uint64:
		f.kind = unsignedKind
	case reflect.Float64:
		f.kind = doubleKind
	case reflect.Struct:
		f.kind, f.sub = messageKind, build(t)
	default:
		panic(fmt.Sprintf("wire: field %s: its type is %s", f.name, t))
	}
}

func newEnum(list string) *enum {
	e := &enum{map[int32]string{}, map[string]int32{}}
	for entry := range strings.SplitSeq(list, ",") {
		name, number, _ := strings.Cut(entry, "=")
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil {
			panic(fmt.Sprintf("wire: enum: %v", err))
		}
		e.names[int32(n)], e.numbers[name] = name, int32(n)
	}
	return e
}

func (f *field) defaultJSON(def string) string {
	switch f.kind {
	case textKind, enumKind:
		return strconv.Quote(def)
	case doubleKind:
		v, err := strconv.ParseFloat(def, 64)
		if err != nil {
			panic(fmt.Sprintf("wire: field %s: default: %v", f.name, err))
		}
		return string(appendDouble(nil, v))
	}
	return def
}
