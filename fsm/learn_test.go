package fsm

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// What is learned in integers is what floating point finds, to a thousandth.
func TestIntegerLearning(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		whole, float := runtimeRow{}, runtimeRow{floats: new(floatMarkers)}
		for i := range 3000 {
			ran := time.Duration(r.ExpFloat64() * float64(time.Minute))
			switch {
			case seed%4 == 1:
				ran = time.Minute // all the same
			case seed%4 == 2 && i%100 == 0:
				ran *= 100_000 // outliers
			case seed%4 == 3:
				ran = time.Duration(i) * time.Second // ever longer
			}
			whole.add(ran)
			float.add(ran)
			a, b := whole.estimate(), float.estimate()
			if d := math.Abs(float64(a - b)); d > 0.001*float64(b)+float64(time.Millisecond) {
				t.Fatalf("seed %d: after %d runs %v, in floating point %v", seed, i+1, a, b)
			}
			for k := 1; k < 5 && whole.Count >= 5; k++ {
				if whole.Height[k] < whole.Height[k-1] || whole.Place[k] <= whole.Place[k-1] {
					t.Fatalf("seed %d: markers out of order: %+v", seed, whole)
				}
			}
		}
	}
}

// The longest runs there can be neither overflow nor panic.
func TestLearningIsBounded(t *testing.T) {
	row := runtimeRow{}
	for i := range 1000 {
		row.add([]time.Duration{math.MaxInt64, 0, 1, math.MaxInt64 / 3}[i%4])
		if e := row.estimate(); e < 0 {
			t.Fatalf("after %d runs: %v", i+1, e)
		}
	}
	if v := mulDiv(math.MaxInt64, math.MaxInt64, 1); v != math.MaxInt64/2 {
		t.Errorf("%d", v)
	}
	if v := rounded(math.Inf(1), 1) + rounded(math.NaN(), 1) + rounded(-3, 1); v != math.MaxInt64/2 {
		t.Errorf("%d", v)
	}
}

func TestDecay(t *testing.T) {
	at := time.Unix(1000, 0)
	for _, half := range []time.Duration{time.Second, time.Hour, 7 * 24 * time.Hour, 1} {
		for _, halves := range []float64{0, 0.001, 0.25, 0.5, 1, 1.5, 2.75, 10, 40} {
			const value = 1e15
			now := at.Add(time.Duration(halves * float64(half)))
			got, want := decayed(value, at, now, half), decayedFloat(value, at, now, half)
			if math.Abs(float64(got)-want) > 1e-5*want+2 {
				t.Errorf("%v after %v: %d, want %.0f", half, now.Sub(at), got, want)
			}
		}
	}
	if decayed(5, at, at.Add(-time.Hour), time.Second) != 5 || decayed(5, at, at.Add(time.Hour), 0) != 5 {
		t.Error("it decays before its time, or without a half life")
	}
}
