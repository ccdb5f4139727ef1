package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/integration/draw"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

// small has one of everything: a gang, lost work, a frozen task, a node that
// was away, and a name that has to be escaped.
func small() *Chart {
	s := func(from, to int) Span {
		return Span{time.Duration(from) * time.Second, time.Duration(to) * time.Second}
	}
	return &Chart{Title: `what <b>"ran"</b> & where`, Last: 100 * time.Second, Groups: []string{"ml/<train>", "web"}, Mem: 200,
		Rows: []Row{
			{Name: "a", CPUs: 4000, Bars: []Bar{
				{Span: s(0, 40), Label: "x.0", CPUs: 2000, Mem: 50, Gang: true}, {Span: s(10, 50), Label: "y.0", Group: 1, CPUs: 1000, Mem: 10},
				{Span: s(50, 70), Label: "y.0", Group: 1, CPUs: 1000, Mem: 10, Frozen: true}, {Span: s(50, 90), Label: "big.0", CPUs: 4000, Mem: 90}}},
			{Name: "b", CPUs: 2000, Bars: []Bar{{Span: s(0, 40), Label: "x.1", CPUs: 2000, Mem: 50, Gang: true}, {Span: s(45, 60), Label: "z.0", Group: 1, CPUs: 500, Lost: true}},
				Down: []Span{s(60, 80)}},
		},
		Levels: []Level{{0, 0}, {10 * time.Second, 3}, {40 * time.Second, 1}, {90 * time.Second, 0}},
	}
}

func drawn(t testing.TB, c *Chart) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGolden(t *testing.T) {
	got := drawn(t, small())
	const path = "testdata/small.svg"
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the picture differs from %s: look at both, and run with -update if the new one is right", path)
	}
}

// wellFormed fails on anything that a browser would refuse, and counts the
// elements of each class.
func wellFormed(t testing.TB, svg []byte) map[string]int {
	t.Helper()
	classes := map[string]int{}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return classes
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok {
			for _, a := range e.Attr {
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Fatalf("%s has %s=%q", e.Name.Local, a.Name.Local, a.Value)
				}
				if a.Name.Local == "class" {
					for _, c := range strings.Fields(a.Value) {
						classes[c]++
					}
				}
			}
		}
	}
}

func TestPictureIsWellFormed(t *testing.T) {
	svg := drawn(t, small())
	classes := wellFormed(t, svg)
	// Two gang members and their mark in the legend; likewise the others.
	if classes["gang"] != 3 || classes["lost"] != 2 || classes["frozen"] != 2 || classes["down"] != 2 {
		t.Errorf("got %v", classes)
	}
	if !strings.Contains(string(svg), "ml/&lt;train&gt;") || strings.Contains(string(svg), "<b>") {
		t.Error("text is not escaped")
	}
	wellFormed(t, drawn(t, &Chart{}))
	wellFormed(t, drawn(t, &Chart{Rows: []Row{{Name: "empty"}}, First: time.Hour, Last: time.Hour}))
}

func TestManyRowsAreGrouped(t *testing.T) {
	c := &Chart{Last: time.Hour, Groups: []string{"a", "b"}}
	for i := range 1000 {
		r := Row{Name: fmt.Sprintf("n%d", i+1), CPUs: 1000}
		for k := range 20 {
			from := time.Duration(k) * 3 * time.Minute
			r.Bars = append(r.Bars, Bar{Span: Span{from, from + 2*time.Minute}, Group: (i + k) % 2, CPUs: 1000})
		}
		c.Rows = append(c.Rows, r)
	}
	svg := drawn(t, c)
	classes := wellFormed(t, svg)
	if classes["name"] > maxRows+10 || classes["bar"] != 0 || classes["g0"] < 10 {
		t.Errorf("got %v", classes)
	}
	if len(svg) > 2<<20 {
		t.Errorf("%d bytes for 20,000 bars", len(svg))
	}
	if !strings.Contains(string(svg), ">n1 – n16<") {
		t.Error("the first group is not named after its nodes")
	}
}

// At no time do two bars share a place, and each has its whole height.
func TestLanesNeverOverlap(t *testing.T) {
	draw.Check(t, func(t *rapid.T) {
		r := Row{CPUs: 4000}
		used := make([]int64, 40) // by second
		for range rapid.IntRange(0, 30).Draw(t, "bars") {
			from := rapid.IntRange(0, 30).Draw(t, "from")
			to := from + rapid.IntRange(1, 9).Draw(t, "length")
			cpus := int64(rapid.IntRange(1, 40).Draw(t, "cpus")) * 100
			fits := true
			for s := from; s < to; s++ {
				fits = fits && used[s]+cpus <= r.CPUs
			}
			if !fits {
				continue
			}
			for s := from; s < to; s++ {
				used[s] += cpus
			}
			r.Bars = append(r.Bars, Bar{Span: Span{time.Duration(from), time.Duration(to)}, CPUs: cpus})
		}
		all := lanes(&r)
		for i, a := range all {
			sum := int64(0)
			for _, x := range a.bands {
				sum += x.to - x.from
				for _, b := range all[:i] {
					for _, y := range b.bands {
						if a.From < b.To && b.From < a.To && x.from < y.to && y.from < x.to {
							t.Fatalf("%+v and %+v overlap", a, b)
						}
					}
				}
			}
			if sum != a.CPUs {
				t.Fatalf("%+v is %d high", a, sum)
			}
		}
	})
}

// What is counted in buckets is all there.
func TestBucketsKeepTheSum(t *testing.T) {
	draw.Check(t, func(t *rapid.T) {
		b := newBuckets(axis{first: 0, last: 1000}, rapid.IntRange(1, 50).Draw(t, "n"))
		want := 0.0
		for range rapid.IntRange(0, 20).Draw(t, "spans") {
			from := rapid.IntRange(0, 999).Draw(t, "from")
			to := rapid.IntRange(from, 1000).Draw(t, "to")
			amount := float64(rapid.IntRange(1, 100).Draw(t, "amount"))
			b.add(Span{time.Duration(from), time.Duration(to)}, amount)
			want += amount * float64(to-from)
		}
		got := 0.0
		for _, v := range b.means() {
			got += v * float64(b.size)
		}
		if math.Abs(got-want) > 1e-6*max(1, want) {
			t.Fatalf("got %g, want %g", got, want)
		}
	})
}

func TestAxis(t *testing.T) {
	for _, c := range []struct {
		last time.Duration
		want string
	}{
		{10 * time.Second, "0 1s 2s 3s 4s 5s 6s 7s 8s 9s 10s"},
		{95 * time.Minute, "0 10m 20m 30m 40m 50m 1h 1h 10m 1h 20m 1h 30m"},
		{50 * time.Hour, "0 6h 12h 18h 1d 1d 6h 1d 12h 1d 18h 2d"},
		{30 * day, "0 7d 14d 21d 28d"},
		{300 * time.Millisecond, "0 100ms 200ms 300ms"},
	} {
		var got []string
		for _, v := range newAxis(0, c.last, 0, 1).ticks(12) {
			got = append(got, label(v))
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: got %s, want %s", c.last, text, c.want)
		}
	}
	for v, want := range map[float64]float64{0: 1, 3: 3, 11: 15, 120: 150, 700: 800, 99999: 100000} {
		if got := niceMax(v); got != want {
			t.Errorf("niceMax(%g) = %g, want %g", v, got, want)
		}
	}
}
