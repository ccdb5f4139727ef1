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
	before := &api.Node{Revision: 1, Name: "oak"}
	fields := 0
	for i := range reflect.TypeFor[api.Node]().NumField() {
		f := reflect.TypeFor[api.Node]().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		now := *before
		now.Revision = 2
		at := reflect.ValueOf(&now).Elem().Field(i)
		switch at.Kind() {
		case reflect.String:
			at.SetString("other")
		case reflect.Bool:
			at.SetBool(true)
		case reflect.Pointer:
			at.Set(reflect.New(at.Type().Elem()))
		default:
			continue
		}
		fields++
		if got := changed(before, &now); got != name {
			t.Errorf("%s: %q", name, got)
		}
	}
	if fields < 15 {
		t.Fatalf("only %d fields were tried", fields)
	}
	if got := changed(before, &api.Node{Revision: 2, Name: "oak"}); got != "" {
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
