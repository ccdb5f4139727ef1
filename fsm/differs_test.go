package fsm

import (
	"reflect"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// An event that tells nothing but that a node is another names what of it is, whatever
// that is; below the level it said that something was.
func TestAnEventNamesWhatChanged(t *testing.T) {
	namesEach(t, &api.Node{Revision: 1, Name: "oak"}, 15)
	namesEach(t, &api.Partition{Revision: 1, Path: "pa", TaskRules: api.TaskRules{MaxWaiting: 7}}, 25)
	namesEach(t, &api.Job{Revision: 1, ID: "web"}, 10)
	if got := changed(&api.Node{Revision: 1, Name: "oak"}, &api.Node{Revision: 2, Name: "oak"}); got != "" {
		t.Errorf("nothing changed but its revision: %q", got)
	}
	for level := Newest - 1; level <= Newest; level++ {
		w := newWorld(t, level, 1)
		w.do(&NodeClock{Meta: w.at(), ID: nodeID(0), Off: 7})
		after := w.View().LastEvent()
		w.do(&NodeClock{Meta: w.at(), ID: nodeID(0), Off: 8})
		var said []string
		for _, e := range w.EventsBefore(after+10, 10) {
			if e.Index > after && e.Kind == api.EventNodeUpdated {
				said = append(said, e.Message)
			}
		}
		want := "what is known of it changed"
		if level.Has(WhatChanged) {
			want = "changed: clockOff"
		}
		if len(said) != 1 || said[0] != want {
			t.Errorf("at level %d: %q, want %q", level, said, want)
		}
	}
}

// namesEach changes one field of a row after the other, those of embedded structs
// included: each is named, and nothing beside it.
func namesEach[T any](t *testing.T, before *T, least int) {
	t.Helper()
	fields := 0
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || name == "revision" {
			continue
		}
		now := *before
		at := reflect.ValueOf(&now).Elem().FieldByIndex(f.Index)
		switch {
		case at.Kind() == reflect.String:
			at.SetString("other")
		case at.Kind() == reflect.Bool:
			at.SetBool(true)
		case at.Kind() == reflect.Pointer:
			at.Set(reflect.New(at.Type().Elem()))
		case at.CanInt():
			at.SetInt(3)
		default:
			continue
		}
		fields++
		if got := changed(before, &now); got != name {
			t.Errorf("%T: %s changed, told is %q", *before, name, got)
		}
	}
	if fields < least {
		t.Fatalf("%T: only %d fields were tried", *before, fields)
	}
}

// Below its level rows are not compared, as apply did not do so: what is not a struct
// cannot be.
func TestNothingIsComparedBelowTheLevel(t *testing.T) {
	w := newWorld(t, WhatChanged.Level()-1, 1)
	if got := known(&tx{tables: &w.Store.t}, new(1), new(2)); got != "what is known of it changed" {
		t.Error(got)
	}
}
