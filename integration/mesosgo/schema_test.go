package mesosgo

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gogo/protobuf/proto"
)

// A theirs is what mesos-go says of a field.
type theirs struct {
	field            reflect.StructField
	number           int
	label, name, def string
	enum             string
	hasDefault       bool
}

// described returns the fields of one of their structs by number.
func described(t reflect.Type) map[int]theirs {
	out := map[int]theirs{}
	for i := range t.NumField() {
		parts := strings.Split(t.Field(i).Tag.Get("protobuf"), ",")
		if len(parts) < 4 {
			continue // not of a message
		}
		f := theirs{field: t.Field(i), label: parts[2]}
		f.number, _ = strconv.Atoi(parts[1])
		for _, p := range parts[3:] {
			switch key, value, _ := strings.Cut(p, "="); key {
			case "name":
				f.name = value
			case "enum":
				f.enum = value
			case "def":
				f.def, f.hasDefault = value, true
			}
		}
		out[f.number] = f
	}
	return out
}

// An our is what our tag says of a field.
type our struct {
	field      reflect.StructField
	number     int
	name, def  string
	required   bool
	hasDefault bool
	milli      bool
}

func ours(sf reflect.StructField) our {
	parts := strings.Split(sf.Tag.Get("wire"), ",")
	f := our{field: sf, name: parts[1]}
	f.number, _ = strconv.Atoi(parts[0])
	for _, p := range parts[2:] {
		f.required = f.required || p == "required"
		f.milli = f.milli || p == "milli"
		if def, ok := strings.CutPrefix(p, "default="); ok {
			f.def, f.hasDefault = def, true
		}
	}
	return f
}

// element returns what a pointer, a slice or a map has of.
func element(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Map || t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 {
		t = t.Elem()
	}
	return t
}

// leftOut are their fields that we do not carry: see leftOut in api/mesos/v1/gen.
var leftOut = regexp.MustCompile(`(?i)csi|resource_?provider|perf|snmp|traffic_control`)

// Where both have a field, it is the same one; what they have and we do not is
// left out on purpose.
func TestSchemaIsThatOfMesosGo(t *testing.T) {
	c := comparison{t: t, seen: map[reflect.Type]bool{}}
	for _, r := range roots {
		c.message(reflect.TypeOf(r.ours()).Elem(), reflect.TypeOf(r.theirs()).Elem())
	}
	if c.fields < 700 {
		t.Errorf("compared %d fields only", c.fields)
	}
	t.Logf("%d fields are the same; newer than mesos-go: %s", c.fields, strings.Join(c.newer, ", "))
}

type comparison struct {
	t      *testing.T
	seen   map[reflect.Type]bool
	newer  []string
	fields int
}

func (c *comparison) message(a, b reflect.Type) {
	if c.seen[a] {
		return
	}
	c.seen[a] = true
	known := described(b)
	for i := range a.NumField() {
		o := ours(a.Field(i))
		th, ok := known[o.number]
		delete(known, o.number)
		at := a.Name() + "." + o.name
		if !ok {
			c.newer = append(c.newer, at)
			continue
		}
		c.fields++
		if got, want := signature(o), th.signature(); got != want {
			c.t.Errorf("%s: ours is %s, theirs %s", at, got, want)
		}
		if e := element(o.field.Type); e.Kind() == reflect.Struct {
			c.message(e, element(th.field.Type))
		} else if th.enum != "" {
			c.enum(e, th.enum)
		}
	}
	for _, th := range known {
		if !leftOut.MatchString(th.name) && !leftOut.MatchString(a.Name()) {
			c.t.Errorf("%s: theirs has %s = %d", a.Name(), th.name, th.number)
		}
	}
}

func signature(o our) string {
	label := "opt"
	if o.required {
		label = "req"
	}
	if k := o.field.Type.Kind(); k == reflect.Map || k == reflect.Slice && o.field.Type.Elem().Kind() != reflect.Uint8 {
		label = "rep"
	}
	return fmt.Sprintf("%s %s %v default %q", label, o.name, element(o.field.Type).Kind(), o.def)
}

func (th theirs) signature() string {
	def := th.def
	if th.enum != "" && th.hasDefault {
		n, _ := strconv.Atoi(def)
		def = nameOf(th.enum, int32(n))
	}
	if th.hasDefault && element(th.field.Type).Kind() == reflect.Bool {
		def = strconv.FormatBool(def == "1")
	}
	return fmt.Sprintf("%s %s %v default %q", th.label, th.name, element(th.field.Type).Kind(), def)
}

func nameOf(enum string, n int32) string {
	for name, number := range proto.EnumValueMap(enum) {
		if number == n {
			return name
		}
	}
	return ""
}

func (c *comparison) enum(a reflect.Type, name string) {
	have := map[string]int32{}
	for entry := range strings.SplitSeq(reflect.Zero(a).Interface().(interface{ EnumNames() string }).EnumNames(), ",") {
		k, v, _ := strings.Cut(entry, "=")
		n, _ := strconv.Atoi(v)
		have[k] = int32(n)
	}
	for k, n := range proto.EnumValueMap(name) {
		if m, ok := have[k]; !ok || m != n {
			c.t.Errorf("%s: theirs has %s = %d, ours %d, %v", a.Name(), k, n, m, ok)
		}
	}
}
