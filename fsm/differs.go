package fsm

import (
	"reflect"
	"strings"

	"github.com/mesita/mesita/api"
)

// known says what is known of a row that changed, and is told by no event of its own.
// Below the level it was only said that it changed.
func known[T any](x *tx, old, row *T) string {
	if names := changed(old, row); x.does(WhatChanged) && names != "" {
		return "changed: " + names
	}
	return "what is known of it changed"
}

// changed names the fields in which two structs differ, as JSON has them, but for what
// changes with every row.
func changed[T any](old, row *T) string {
	if old == nil || row == nil {
		return ""
	}
	var names []string
	a, b := reflect.ValueOf(old).Elem(), reflect.ValueOf(row).Elem()
	for i := range a.NumField() {
		f := a.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" || name == "revision" || reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			continue
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// nodeOf is nil for no row.
func nodeOf(r *nodeRow) *api.Node {
	if r == nil {
		return nil
	}
	return r.node
}
