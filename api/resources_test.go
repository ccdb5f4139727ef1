package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

func TestParseResources(t *testing.T) {
	r, err := ParseResources("cpus=4,mem=8GiB,disk=50GB,gpus=1,ports=80,20000-20999,licence=2.5,lane=1-4,9,zone={a,b}")
	if err != nil {
		t.Fatal(err)
	}
	want := "cpus=4,mem=8GiB,disk=46.6GiB,gpus=1,ports=80,20000-20999,lane=1-4,9,licence=2.5,zone={a,b}"
	if r.String() != want {
		t.Errorf("got  %s\nwant %s", r, want)
	}
	for in, word := range map[string]string{
		"cpus=-": "cores", "cpus=NaN": "cores", "cpus=1e300": "cores", "mem=8XB": "bytes", "mem=1e300": "more", "cpus=1,cpus=2": "twice",
		"gpus=1.5": "whole", "ports=9-1": "range", "ports=1-99999999999999999999": "range", "4": "key=value", "a b=1": "position", "cpus=0.0001": "smallest",
	} {
		if _, err := ParseResources(in); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: got %v, want an error with %q", in, err, word)
		}
	}
}

func TestUnits(t *testing.T) {
	for in, want := range map[string]Bytes{"128MiB": 128 << 20, "2GB": 2e9, "1.5GiB": 3 << 29, "4096": 4096, "1K": 1024} {
		if got, err := ParseBytes(in); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", in, got, err, want)
		}
	}
	var c MilliCPU
	if err := json.Unmarshal([]byte("0.25"), &c); err != nil || c != 250 {
		t.Errorf("0.25 cores: got %d, %v", c, err)
	}
	if b, err := json.Marshal(c); err != nil || string(b) != "0.25" {
		t.Errorf("250 milli: got %s, %v", b, err)
	}
	var d Duration
	if err := json.Unmarshal([]byte(`"1h30m"`), &d); err != nil || d.String() != "1h30m0s" {
		t.Errorf("1h30m: got %s, %v", d, err)
	}
}

func genRanges() *rapid.Generator[Ranges] {
	return rapid.Custom(func(t *rapid.T) Ranges {
		var r Ranges
		for range rapid.IntRange(0, 5).Draw(t, "pieces") {
			first := rapid.Int64Range(0, 60).Draw(t, "first")
			r = append(r, Range{first, first + rapid.Int64Range(0, 9).Draw(t, "length")})
		}
		return r.normal()
	})
}

// Ranges behave as the sets of numbers that they stand for.
func TestRangesAreSets(t *testing.T) {
	draw.Check(t, func(t *rapid.T) {
		a, b := genRanges().Draw(t, "a"), genRanges().Draw(t, "b")
		union, minus := a.Union(b), a.Minus(b)
		inside := true
		var count int64
		for v := range int64(80) {
			if union.Has(v) != (a.Has(v) || b.Has(v)) || minus.Has(v) != (a.Has(v) && !b.Has(v)) {
				t.Fatalf("wrong at %d: union %v, minus %v", v, union, minus)
			}
			inside = inside && (!b.Has(v) || a.Has(v))
			if a.Has(v) {
				count++
			}
		}
		if a.Contains(b) != inside || a.Count() != count {
			t.Fatalf("contains %v, count %d; want %v, %d", a.Contains(b), a.Count(), inside, count)
		}
		if back, err := ParseRanges(a.String()); err != nil || back.String() != a.String() {
			t.Fatalf("%q reads back as %q, %v", a, back, err)
		}
	})
}

// What is added can be taken away again, and what fits can be.
func TestResourcesAddAndMinus(t *testing.T) {
	gen := rapid.Custom(func(t *rapid.T) Resources {
		return Resources{CPUs: MilliCPU(rapid.IntRange(0, 9000).Draw(t, "cpus")), Mem: Bytes(rapid.IntRange(0, 1<<30).Draw(t, "mem")), Ports: genRanges().Draw(t, "ports"),
			Custom: map[string]Quantity{"licence": {Scalar: rapid.Int64Range(1, 5000).Draw(t, "licence")}}}
	})
	draw.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		b.Ports = b.Ports.Minus(a.Ports)
		if sum := a.Add(b); !sum.Fits(a) || !sum.Fits(b) || !sum.Minus(b).Equal(a) {
			t.Fatalf("a+b = %v, -b = %v", sum, sum.Minus(b))
		}
		if a.Fits(b) {
			if rest := a.Minus(b); rest.CPUs < 0 || rest.Mem < 0 || rest.Custom["licence"].Scalar < 0 {
				t.Fatalf("b fits into a, and a-b = %v", rest)
			}
		}
	})
}
