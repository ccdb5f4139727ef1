package openapi

import (
	"encoding"
	"encoding/json"
	"iter"
	"maps"
	"path"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

var (
	timeType = reflect.TypeFor[time.Time]()
	jsonText = reflect.TypeFor[json.Marshaler]()
	plain    = reflect.TypeFor[encoding.TextMarshaler]()
	anyJSON  = reflect.TypeFor[json.Unmarshaler]()
)

// generator makes schemas of what is answered, or of what may be written, which is more.
type generator struct {
	schemas object
	seen    map[reflect.Type]string
	written bool
}

func newGenerator(schemas object) *generator {
	return &generator{schemas: schemas, seen: map[reflect.Type]string{}}
}

var textOrInteger = []string{"integer", "string"}

// schema is the schema of a type; structs become components.
func (g *generator) schema(t reflect.Type) object {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	short := g.written && reflect.PointerTo(t).Implements(anyJSON)
	switch {
	case t == timeType:
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[api.Quantity]():
		return object{"type": []string{"number", "string", "array"}, "items": object{"type": "string"}}
	case t.Kind() == reflect.Struct && short:
		return object{"anyOf": []object{{"type": "string"}, g.structRef(t)}}
	case t.Kind() == reflect.Struct:
		return g.structRef(t)
	case t.Implements(jsonText) && short:
		return object{"type": textOrNumber}
	case t.Implements(jsonText):
		return object{"type": marshaledKind(t)}
	case t.Implements(plain):
		return enumSchema(t)
	case short && t.Kind() == reflect.Int64:
		return object{"type": textOrInteger}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		if c, ok := reflect.Zero(t).Interface().(interface {
			Choices() iter.Seq2[string, string]
		}); ok {
			return choiceSchema(c.Choices())
		}
		return object{"type": "string"}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": g.schema(t.Elem())}
	case reflect.Array: // one that is the whole answer
		return object{"type": "array", "items": g.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": g.schema(t.Elem())}
	}
	return object{}
}

// marshaledKind asks the zero value how it looks.
func marshaledKind(t reflect.Type) string {
	b, err := json.Marshal(reflect.Zero(t).Interface())
	switch {
	case err != nil || len(b) == 0:
		return "string"
	case b[0] == '"':
		return "string"
	case b[0] == '[':
		return "array"
	}
	return "number"
}

// enumSchema lists the names of a type that counts up from zero.
func enumSchema(t reflect.Type) object {
	out := object{"type": "string"}
	if t.Kind() != reflect.Uint8 {
		return out
	}
	var names []string
	for i := range 64 {
		v := reflect.New(t).Elem()
		v.SetUint(uint64(i))
		b, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil || strings.Contains(string(b), "("+strconv.Itoa(i)+")") {
			break
		}
		names = append(names, string(b))
	}
	out["enum"] = names
	return out
}

// choiceSchema lists the words that a setting takes, and what they mean.
func choiceSchema(all iter.Seq2[string, string]) object {
	var names, help []string
	for name, about := range all {
		names, help = append(names, name), append(help, name+": "+about)
	}
	return object{"type": "string", "enum": names, "description": strings.Join(help, "; ")}
}

func (g *generator) structRef(t reflect.Type) object {
	if t.Name() == "" {
		return g.object(t)
	}
	name, ok := g.seen[t]
	if !ok {
		name = strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
		if _, taken := g.schemas[name]; taken && g.written {
			name += "Input"
		} else if taken {
			name = path.Base(t.PkgPath()) + name
		}
		g.seen[t] = name
		g.schemas[name] = object{} // a type may hold itself
		g.schemas[name] = g.object(t)
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// object is the schema of a struct. What is answered has all fields that are not left
// out if they are empty; what may be written has no others.
func (g *generator) object(t reflect.Type) object {
	properties, required := g.properties(t)
	out := object{"type": "object", "properties": described(properties, t)}
	switch {
	case g.written:
		out["additionalProperties"] = false
	case required != nil:
		out["required"] = required
	}
	return out
}

// properties are the JSON fields, those of embedded structs included, and which are
// always there.
func (g *generator) properties(t reflect.Type) (out object, required []string) {
	if w, ok := reflect.Zero(t).Interface().(interface{ Wire() any }); ok {
		t = reflect.TypeOf(w.Wire())
	}
	out = object{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		ft := f.Type
		for ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		switch {
		case name == "-":
			continue
		case f.Anonymous && name == "" && ft.Kind() == reflect.Struct:
			more, must := g.properties(ft)
			maps.Copy(out, more)
			required = append(required, must...)
			continue
		case !f.IsExported():
			continue
		case name == "":
			name = f.Name
		}
		s := g.schema(f.Type)
		if strings.Contains(options, "omit") && !g.written {
			out[name] = s
			continue
		}
		if required = append(required, name); g.nullable(f.Type) {
			s = orNull(s)
		}
		out[name] = s
	}
	return out, required
}

// nullable reports whether a field that is always there may be null. What is answered is
// whole: a number or a time in it may be unknown, and a list empty, but an object that may be
// missing is left out.
func (g *generator) nullable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice, reflect.Map:
		return true
	case reflect.Pointer:
		return g.written || t.Elem().Kind() != reflect.Struct || t.Elem() == timeType
	}
	return false
}

// orNull is a schema that takes null, too.
func orNull(s object) object {
	kind, ok := s["type"].(string)
	if !ok || s["enum"] != nil {
		return object{"anyOf": []object{s, {"type": "null"}}}
	}
	s["type"] = []string{kind, "null"}
	return s
}

// described are the properties of a type with what it says of its keys.
func described(properties object, t reflect.Type) object {
	for k := range api.KeysOf(t) {
		p, ok := properties[k.Name].(object)
		if !ok {
			continue
		}
		about := k.About
		if len(k.Kinds) > 0 {
			about += " (kind " + k.Kinds[0].String() + ")"
		}
		if k.Default != "" {
			about += "; default: " + k.Default
		}
		if words, ok := p["description"].(string); ok {
			about += ". " + words
		}
		p["description"] = about
	}
	return properties
}
