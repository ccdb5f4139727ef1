package api

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

// Versions compare as lists of numbers of any size do, of which the shorter one
// continues with zeros; what is behind the numbers of a node's does not count.
func TestVersionsCompareAsLists(t *testing.T) {
	part := rapid.SampledFrom([]string{"0", "00", "1", "2", "9", "10", "010", "11", "100", "18446744073709551616"})
	list := rapid.SliceOfN(part, 2, 5)
	draw.Check(t, func(t *rapid.T) {
		has, wants := list.Draw(t, "has"), list.Draw(t, "wants")
		v := rapid.SampledFrom([]string{"", "v"}).Draw(t, "v") + strings.Join(has, ".") + rapid.SampledFrom([]string{"", "-13-amd64", "+b7", "~rc1"}).Draw(t, "suffix")
		order := 0
		for i := 0; i < 5 && order == 0; i++ {
			order = numberAt(has, i).Cmp(numberAt(wants, i))
		}
		for op, want := range map[string]bool{"<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0} {
			c := mark(t, "ver"+op+strings.Join(wants, "."))
			if got := c.Match("", map[string]string{"ver": v}); got != want || !c.ByVersion {
				t.Fatalf("%s of %q: %v, %v", c, v, got, c.ByVersion)
			}
		}
	})
}

func numberAt(parts []string, i int) *big.Int {
	n := new(big.Int)
	if i < len(parts) {
		n.SetString(parts[i], 10)
	}
	return n
}

func mark(t rapid.TB, text string) Constraint {
	c, err := ParseConstraint(text)
	if err != nil {
		t.Fatal(err)
	}
	return MarkVersions([]Constraint{c}, nil, true)[0]
}

// Where not both are versions of which one has several parts, numbers compare as
// numbers, and nothing else does.
func TestVersionsBesideNumbers(t *testing.T) {
	for _, x := range []struct {
		has, condition string
		want           bool
	}{
		{"16", "x>=8", true}, {"8", "x>=16", false}, {"-5", "x<1.10", true}, {"1e3", "x>999", true}, {"0.5", "x<1", true}, {".5", "x<1", true},
		{"6.18.44-fc", "x>=6", true}, {"6.18.44-fc", "x>6.18", true}, {"6", "x>=6.0.0", true}, {"1.10", "x>1.9", true}, {"v2.0", "x<v10", true},
		{"2026-01-15", "x>=2026", false}, {"10rc1.2", "x>=1.0", false}, {"1..2", "x>=1.0", false}, {"1.2.", "x>=1.0", false}, {"ssd", "x>=1.0", false}, {"", "x>=1.0", false}, {"NaN", "x>=1", false}, {"NaN", "x<1", false},
	} {
		if got := mark(t, x.condition).Match("", map[string]string{"x": x.has}); got != x.want {
			t.Errorf("%s of %q: %v", x.condition, x.has, got)
		}
	}
}

// A condition that is stored keeps its meaning for as long as it is written alike; and
// where not all voters know versions, what they take for a number is one.
func TestVersionsKeepWhatWas(t *testing.T) {
	old := Constraint{Attr: "x", Op: ">=", Value: "1.10"}
	attrs := map[string]string{"x": "1.9"}
	if !old.Match("", attrs) {
		t.Error("a decimal of before level 10 is compared as a version")
	}
	for _, c := range []struct {
		before []Constraint
		known  bool
		want   bool
	}{{nil, true, true}, {nil, false, false}, {[]Constraint{old}, true, false}, {[]Constraint{{Attr: "x", Op: ">", Value: "1.10"}}, true, true}} {
		if got := MarkVersions([]Constraint{old}, c.before, c.known)[0]; got.ByVersion != c.want {
			t.Errorf("%v, %v: %v", c.before, c.known, got.ByVersion)
		}
	}
	if c := MarkVersions([]Constraint{{Attr: "x", Op: ">=", Value: "6.1.0"}}, nil, false)[0]; !c.ByVersion {
		t.Error("what no voter of before takes is not marked, so nothing would refuse it")
	}
	equal := []Constraint{{Attr: "x", Op: "=", Value: "6.1.0"}, {Attr: "x", Op: ">", Value: "6.1.0-rc1"}}
	if got := MarkVersions(equal, nil, true); got[0].ByVersion || got[1].ByVersion || &got[0] == &equal[0] {
		t.Errorf("%+v", got)
	}
}

// What compares with neither is refused, and it is said what would be taken.
func TestComparisonsWithText(t *testing.T) {
	for value, ok := range map[string]bool{"4": true, "6.1": true, "6.1.0": true, "v2": true, "-1.5": true, "6.1.0-13": false, "ssd": false, "": false, "1..2": false} {
		cs := MarkVersions([]Constraint{{Attr: "x", Op: ">=", Value: value}}, nil, true)
		err := validateConstraints("constraints", cs)
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), fmt.Sprintf("constraints: \"x>=%s\": %q is neither a number nor a version: write x>=4 or x>=6.1", value, value)) {
			t.Errorf("%q: %v", value, err)
		}
	}
	spec := &JobSpec{Kind: KindService, Name: "web", TaskSpec: TaskSpec{Command: []string{"x"}, Placing: Placing{Prefer: []Constraint{{Attr: "x", Op: ">", Value: "6.1.0"}}}}}
	spec.Normalize()
	if err := spec.Validate(); err != nil || !slices.ContainsFunc(spec.Prefer, func(c Constraint) bool { return c.ByVersion }) {
		t.Error(err)
	}
}
