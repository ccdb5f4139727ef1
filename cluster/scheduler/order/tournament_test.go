package order

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mesita/mesita/integration/draw"
)

// TestTheFirstOfTheSmallestWins: whatever was set since, also on a copy, the
// winner is what one finds who looks at all keys.
func TestTheFirstOfTheSmallestWins(t *testing.T) {
	key := rapid.Custom(func(rt *rapid.T) float64 {
		if k := rapid.IntRange(0, 9).Draw(rt, "key"); k > 0 {
			return float64(k)
		}
		return none
	})
	draw.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOfN(key, 1, 700).Draw(rt, "keys")
		x := newTournament(slices.Clone(all))
		for range rapid.IntRange(1, 20).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 40).Draw(rt, "changes") {
				i := rapid.IntRange(0, len(all)-1).Draw(rt, "slot")
				all[i] = key.Draw(rt, "new")
				x.set(i, all[i])
			}
			if rapid.IntRange(0, 3).Draw(rt, "copied") == 0 {
				before := x
				x = x.clone()
				before.set(0, -1)
			}
			want, least := -1, none
			for i, k := range all {
				if k < least {
					want, least = i, k
				}
			}
			if got, k := x.min(); got != want || k != least {
				rt.Fatalf("of %d keys %d wins with %v, want %d with %v", len(all), got, k, want, least)
			}
		}
	})
}
