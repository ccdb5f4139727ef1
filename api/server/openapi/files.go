package openapi

import (
	"reflect"
	"slices"

	"github.com/mesita/mesita/api"
)

// Noun is a kind of document that a file may hold.
type Noun struct {
	Name string
	Of   any
	Kind string // the value of the key kind that tells it apart; "" = any other
}

// Files is the JSON Schema (draft 2020-12) of one document of a file, for editors. What a
// type says of its keys is all that may be in it, and beside that keys that begin with x-.
func Files(id, title string, nouns []Noun) map[string]any {
	g := files{schemas: object{}}
	var either []object
	for _, n := range nouns {
		s := g.keys(reflect.TypeOf(n.Of))
		if properties := s["properties"].(object); n.Kind != "" {
			properties["kind"] = object{"const": n.Kind, "description": "what tells it from a job"}
			s["required"] = []string{"kind"}
		} else {
			for _, k := range api.FileKeys() {
				text := object{"type": "string"}
				properties[k.Name] = object{"description": k.About, "anyOf": []object{text, {"type": "array", "items": text}}}
			}
		}
		g.schemas[n.Name] = s
		either = append(either, object{"$ref": "#/$defs/" + n.Name})
	}
	return object{"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": id, "title": title, "oneOf": either, "$defs": g.schemas}
}

// files makes schemas of what may be written, which is more than what is answered: an
// amount with its unit, a port by its name alone.
type files struct{ schemas object }

func (g files) keys(t reflect.Type) object {
	properties := object{}
	for k, of := range api.KeysOf(t) {
		properties[k.Name] = orNothing(g.value(of))
	}
	return object{"type": "object", "properties": described(properties, t), "additionalProperties": false, "patternProperties": object{"^x-": object{}}}
}

// orNothing lets a key be written without a value, which is as if it was left out.
func orNothing(schema object) object {
	switch kind := schema["type"].(type) {
	case string:
		schema["type"] = []string{kind, "null"}
	case []string:
		schema["type"] = append(slices.Clip(kind), "null")
	}
	if either, ok := schema["anyOf"].([]object); ok {
		schema["anyOf"] = append(either, object{"type": "null"})
	}
	if words, ok := schema["enum"].([]string); ok {
		delete(schema, "type")
		schema["enum"] = append(anyOf(words), nil)
	}
	return schema
}

func anyOf(words []string) (out []any) {
	for _, w := range words {
		out = append(out, w)
	}
	return out
}

// Where a text is, numbers and the like are taken as they are written.
var textLike, textOrNumber = []string{"string", "number", "boolean"}, []string{"string", "number"}

func (g files) value(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[api.Kind]():
		return object{"enum": []string{api.KindService.String(), api.KindBatch.String()}}
	case reflect.TypeFor[api.Quantity]():
		return object{"type": []string{"number", "string", "array"}}
	}
	short := reflect.PointerTo(t).Implements(anyJSON)
	switch t.Kind() {
	case reflect.Pointer:
		return g.value(t.Elem())
	case reflect.Slice:
		return object{"type": "array", "items": g.value(t.Elem())}
	case reflect.Map:
		s := object{"type": "object", "additionalProperties": g.value(t.Elem())}
		if t.Elem().Kind() == reflect.String { // or a list of NAME=VALUE
			return object{"anyOf": []object{s, {"type": "array", "items": object{"type": "string", "pattern": "="}}}}
		}
		return s
	case reflect.Struct:
		if s := g.keys(t); short {
			return object{"anyOf": []object{{"type": "string"}, s}}
		} else {
			return s
		}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		if s := new(generator).schema(t); s["enum"] != nil {
			return s
		}
		return object{"type": textLike}
	}
	if short {
		return object{"type": textOrNumber}
	}
	return object{"type": "integer"}
}
