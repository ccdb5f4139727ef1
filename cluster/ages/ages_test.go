package ages

import (
	"strings"
	"testing"
	"time"
)

var at = time.Date(2026, 5, 1, 12, 0, 0, 123, time.UTC)

func TestRelations(t *testing.T) {
	var first Line
	oak := first.Begin("oak", at)
	again := oak.Begin("oak", at)
	fir := first.Begin("fir", at)
	mistake := oak.Begin("elm", at)
	for _, c := range []struct {
		own, its Line
		want     Relation
	}{
		{first, nil, Same}, {oak, oak, Same}, {first, oak, Later}, {first, again, Later}, {oak, again, Later}, {oak, first, Earlier}, {again, oak, Earlier},
		{again, first, Earlier}, {oak, fir, Apart}, {fir, oak, Apart}, {again, mistake, Apart}, {again, fir, Apart},
	} {
		if got := c.own.To(c.its); got != c.want {
			t.Errorf("%q to %q: %d, want %d", c.own, c.its, got, c.want)
		}
		if err := Compare(c.own, c.its, "x"); (err == nil) != (c.want == Same) || err != nil && !strings.Contains(err.Error(), "--rejoin") {
			t.Errorf("%q to %q: %v", c.own, c.its, err)
		}
	}
	if first.Begin("oak", at).ID() == oak.ID() {
		t.Error("two recoveries of the same state are one age")
	}
	if first.Name("mesita/raft") != "mesita/raft" || oak.Name("mesita/raft") == fir.Name("mesita/raft") {
		t.Error("names")
	}
	long := first
	for range 100 {
		long = long.Begin("oak", at)
	}
	if next := long.Begin("oak", at); len(next) != most || long.To(next) != Later || first.To(next) != Later {
		t.Errorf("a long line: %d, %d", len(next), long.To(next))
	}
}

func TestHeader(t *testing.T) {
	var l Line
	for range 3 {
		got, err := Parse(l.String())
		if err != nil || got.String() != l.String() || l.To(got) != Same {
			t.Errorf("%q became %q, %v", l, got, err)
		}
		l = l.Begin("oak-1", at)
	}
	for _, s := range []string{"x", ",", "0123456789abcdef", "0123456789abcdef:oak", "0123456789abcdef:oak:x", "0123456789abcdeF:oak:1", "0123456789abcdef:o k:1", "0123456789abcdef:oak:1,",
		strings.Repeat("0123456789abcdef:oak:1,", 40) + "0123456789abcdef:oak:1"} {
		if l, err := Parse(s); err == nil {
			t.Errorf("%q is %v", s, l)
		}
	}
}
