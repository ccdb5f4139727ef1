package fsm

import (
	"reflect"
	"strings"

	"github.com/mesita/mesita/api"
)

// known says what is known of a row that changed, and is told by no event of its own.
// Below the level it was only said that it changed.
func known[T any](x *tx, old, row *T) string {
	if x.does(WhatChanged) { // not asked for below: to compare costs more than the change
		if names := changed(old, row); names != "" {
			return "changed: " + names
		}
	}
	return "what is known of it changed"
}

// changed names the fields in which two structs differ, as JSON has them, but for what
// changes with every row.
func changed[T any](old, row *T) string {
	if old == nil || row == nil {
		return ""
	}
	return strings.Join(differing(nil, reflect.ValueOf(old).Elem(), reflect.ValueOf(row).Elem()), ", ")
}

// differing adds names of fields to those that there are. Those of an embedded struct
// are told as JSON has them, beside the others.
func differing(names []string, a, b reflect.Value) []string {
	for i := range a.NumField() {
		f := a.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			names = differing(names, a.Field(i), b.Field(i))
		case name == "" || name == "-" || name == "revision" || reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()):
		default:
			names = append(names, name)
		}
	}
	return names
}

// nodeOf is nil for no row.
func nodeOf(r *nodeRow) *api.Node {
	if r == nil {
		return nil
	}
	return r.node
}
