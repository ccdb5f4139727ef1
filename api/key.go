package api

import (
	"iter"
	"reflect"
	"strings"
)

// Key is what is said of one field of what users write, in help, the schema of files and
// OpenAPI. A type that is written has a method Keys, beside it, with all of its fields
// that are its users'.
type Key struct {
	Name, About string
	Default     string // what holds if it is left out, as it is written or in words; "" = nothing
	Example     string // a value, in YAML
	Kinds       []Kind // the kinds of jobs that have it; none: each
}

func key(name, about, def, example string, kinds ...Kind) Key {
	return Key{name, about, def, example, kinds}
}

// FileKeys are the keys of jobs that are in files alone: who reads a file puts into the
// spec what they lead to.
func FileKeys() []Key {
	return []Key{key("envFile", "a file of NAME=VALUE, as --env-file reads it, or a list of them; env goes before", "", "./web.env")}
}

// KeysOf are the keys of a struct and their types, those of the structs in it included;
// none if nothing is said of them.
func KeysOf(t reflect.Type) iter.Seq2[Key, reflect.Type] {
	return func(yield func(Key, reflect.Type) bool) { eachKey(t, yield) }
}

func eachKey(t reflect.Type, yield func(Key, reflect.Type) bool) bool {
	types := map[string]reflect.Type{}
	v := reflect.New(t).Elem()
	var inner []reflect.Type
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		types[name] = f.Type
		of := f.Type
		if f.Anonymous && of.Kind() == reflect.Pointer {
			if of = of.Elem(); f.IsExported() {
				v.Field(i).Set(reflect.New(of)) // whose method may be this type's, too
			}
		}
		if f.Anonymous && of.Kind() == reflect.Struct {
			inner = append(inner, of)
		}
	}
	if said, ok := v.Interface().(interface{ Keys() []Key }); ok {
		for _, k := range said.Keys() {
			if t := types[k.Name]; t != nil && !yield(k, t) { // else it is said by a struct in it
				return false
			}
		}
	}
	for _, of := range inner {
		if !eachKey(of, yield) {
			return false
		}
	}
	return true
}
