package draw

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func drawn(t *testing.T) (all []int) {
	Check(t, func(rt *rapid.T) { all = append(all, rapid.Int().Draw(rt, "n")) })
	return append(all, Rand(t).Int())
}

func TestTheSameUnlessAskedFor(t *testing.T) {
	t.Setenv("MESITA_SEED", "")
	t.Setenv("MESITA_CHECKS", "20")
	first := drawn(t)
	if !slices.Equal(first, drawn(t)) {
		t.Error("two runs draw other numbers, and nobody asked for that")
	}
	if len(first) != 21 {
		t.Errorf("%d cases, want 20", len(first)-1)
	}
	for _, seed := range []string{"7", "random"} {
		t.Setenv("MESITA_SEED", seed)
		if other := drawn(t); slices.Equal(first[:20], other[:20]) || first[20] == other[20] {
			t.Errorf("MESITA_SEED=%s draws what is drawn without it", seed)
		}
	}
}

func TestSeedsThatAreNone(t *testing.T) {
	for _, bad := range []string{"0", "-1", "x", "18446744073709551616"} {
		if n, err := parse(bad); err == nil {
			t.Errorf("%q is the seed %d", bad, n)
		}
	}
}
