package openapi

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// What is answered may be null where something is not known, or nothing is in a list; what
// may be written, wherever Go takes it.
func TestWhatMayBeNull(t *testing.T) {
	type part struct{}
	type whole struct {
		Part  *part          `json:"part"`
		Known *int           `json:"known"`
		Ended *time.Time     `json:"ended"`
		List  []part         `json:"list"`
		Table map[string]int `json:"table"`
		Left  *int           `json:"left,omitempty"`
		Count int            `json:"count"`
	}
	for written, want := range map[bool]string{false: "ended known list table", true: "ended known left list part table"} {
		g := newGenerator(object{})
		g.written = written
		properties, _ := g.properties(reflect.TypeFor[whole]())
		var got []string
		for _, name := range []string{"count", "ended", "known", "left", "list", "part", "table"} {
			if b, err := json.Marshal(properties[name]); err != nil || strings.Contains(string(b), `"null"`) {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("written %v: null is taken for %q, want %q", written, got, want)
		}
	}
}
