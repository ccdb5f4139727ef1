// Package openapi describes an HTTP API in OpenAPI 3.1. It owns how Go types
// become JSON schemas; what is described, and where it is served, is up to
// api/server, which calls it with its route table.
package openapi

import (
	"encoding"
	"encoding/json"
	"iter"
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// Operation is one method on one path. Body and Answer are examples of the
// types that travel as JSON; a nil Body is none, and one of kind string is a
// raw body or answer of no type.
type Operation struct {
	Method, Path, Summary string
	Role                  string // the least that may; "" = anybody
	Query                 []string
	About                 map[string]string // what some of Query mean
	Body, Answer          any
	Stream                bool // the answer is a sequence of JSON values
	Raw                   bool // or plain bytes, if those are accepted
}

type object = map[string]any

// Describe is the whole document, ready to be encoded as JSON. errorType is
// what every error carries.
func Describe(title, version string, ops []Operation, errorType any) map[string]any {
	g := generator{schemas: object{}, seen: map[reflect.Type]string{}}
	failure := object{"description": "what is wrong, and what to do next", "content": jsonContent(
		object{"type": "object", "properties": object{"error": g.schema(reflect.TypeOf(errorType))}})}
	paths := map[string]object{}
	for _, op := range ops {
		if paths[op.Path] == nil {
			paths[op.Path] = object{}
		}
		paths[op.Path][strings.ToLower(op.Method)] = g.operation(op, failure)
	}
	return object{
		"openapi":    "3.1.0",
		"info":       object{"title": title, "version": version},
		"paths":      paths,
		"components": object{"schemas": g.schemas, "securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}}},
	}
}

type generator struct {
	schemas object
	seen    map[reflect.Type]string
}

func (g *generator) operation(op Operation, failure object) object {
	out := object{"summary": op.Summary, "operationId": operationID(op),
		"responses": object{"200": object{"description": "done", "content": g.content(op)}, "default": failure}}
	var params []object
	for seg := range strings.SplitSeq(op.Path, "/") {
		if strings.HasPrefix(seg, "{") {
			params = append(params, object{"name": strings.Trim(seg, "{}"), "in": "path", "required": true, "schema": object{"type": "string"}})
		}
	}
	for _, q := range op.Query {
		p := object{"name": q, "in": "query", "schema": object{"type": "string"}}
		if about := op.About[q]; about != "" {
			p["description"] = about
		}
		params = append(params, p)
	}
	if params != nil {
		out["parameters"] = params
	}
	if op.Role != "" {
		out["security"] = []object{{"token": []string{}}}
		out["description"] = "Needs the role " + op.Role + "."
	}
	switch {
	case op.Body == nil:
	case reflect.TypeOf(op.Body).Kind() == reflect.String:
		out["requestBody"] = object{"required": true, "content": object{"application/octet-stream": object{}}}
	default:
		out["requestBody"] = object{"content": jsonContent(g.schema(reflect.TypeOf(op.Body)))}
	}
	return out
}

func operationID(op Operation) string {
	id := strings.ToLower(op.Method)
	for seg := range strings.SplitSeq(strings.TrimPrefix(op.Path, "/v1"), "/") {
		if seg = strings.Trim(seg, "{}"); seg != "" {
			seg = strings.ReplaceAll(seg, ".", "")
			id += strings.ToUpper(seg[:1]) + seg[1:]
		}
	}
	return id
}

func (g *generator) content(op Operation) object {
	t := reflect.TypeOf(op.Answer)
	switch {
	case t == nil || t.Kind() == reflect.String:
		return object{"*/*": object{}}
	case op.Stream && t.Kind() != reflect.Slice:
		out := object{"application/x-ndjson": object{"schema": g.schema(t)}}
		if op.Raw {
			out["application/octet-stream"] = object{}
		}
		return out
	case t.Kind() == reflect.Slice:
		items := object{"type": "object", "properties": object{"items": g.schema(t), "index": object{"type": "integer"}, "event": object{"type": "integer"}}}
		if slices.Contains(op.Query, "before") {
			items["properties"].(object)["before"] = object{"type": "integer"}
		}
		if slices.Contains(op.Query, "cursor") {
			maps.Copy(items["properties"].(object), object{"next": object{"type": "string"}, "total": object{"type": "integer"}})
		}
		if op.Stream {
			return object{"application/json": object{"schema": items}, "text/event-stream": object{}}
		}
		return jsonContent(items)
	}
	return jsonContent(g.schema(t))
}

func jsonContent(schema object) object {
	return object{"application/json": object{"schema": schema}}
}

var (
	timeType = reflect.TypeFor[time.Time]()
	jsonText = reflect.TypeFor[json.Marshaler]()
	plain    = reflect.TypeFor[encoding.TextMarshaler]()
	anyJSON  = reflect.TypeFor[json.Unmarshaler]()
)

// schema is the schema of a type; structs become components.
func (g *generator) schema(t reflect.Type) object {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == timeType:
		return object{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Struct:
		return g.structRef(t)
	case t.Implements(jsonText):
		return object{"type": marshaledKind(t)}
	case t.Implements(plain):
		return enumSchema(t)
	case reflect.PointerTo(t).Implements(anyJSON) && t.Kind() == reflect.Int64:
		return object{"type": []string{"integer", "string"}}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
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
	if reflect.PointerTo(t).Implements(jsonText) && t.Name() == "Quantity" {
		return object{"type": []string{"number", "string", "array"}}
	}
	if t.Name() == "" {
		return object{"type": "object", "properties": described(g.properties(t), t)}
	}
	name, ok := g.seen[t]
	if !ok {
		name = strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
		if _, taken := g.schemas[name]; taken {
			name = path.Base(t.PkgPath()) + name
		}
		g.seen[t] = name
		g.schemas[name] = object{} // a type may hold itself
		g.schemas[name] = object{"type": "object", "properties": described(g.properties(t), t)}
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// properties are the JSON fields, those of embedded structs included.
func (g *generator) properties(t reflect.Type) object {
	out := object{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		ft := f.Type
		for ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		switch {
		case name == "-":
		case f.Anonymous && name == "" && ft.Kind() == reflect.Struct:
			maps.Copy(out, g.properties(ft))
		case !f.IsExported():
		case name == "":
			out[f.Name] = g.schema(f.Type)
		default:
			out[name] = g.schema(f.Type)
		}
	}
	return out
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
