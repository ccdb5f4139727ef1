package openapi

import (
	"reflect"

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
		properties[k.Name] = g.value(of)
	}
	describe(properties, t)
	return object{"type": "object", "properties": properties, "additionalProperties": false, "patternProperties": object{"^x-": object{}}}
}

var textOrNumber = []string{"string", "number"}

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
		return object{"type": "object", "additionalProperties": g.value(t.Elem())}
	case reflect.Struct:
		if s := g.keys(t); short {
			return object{"anyOf": []object{{"type": "string"}, s}}
		} else {
			return s
		}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return new(generator).schema(t)
	}
	if short {
		return object{"type": textOrNumber}
	}
	return object{"type": "integer"}
}
