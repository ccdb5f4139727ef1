// Package draw gives tests their random numbers. Each run draws the same ones,
// so that a test that fails says something of the change before it and not of
// luck, and fails again when it is run again. MESITA_SEED asks for others, a
// number or "random", and MESITA_CHECKS for more cases of each property;
// scripts/soak does both. It is imported by tests alone.
package draw

import (
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// Seed is what this run draws from, never 0. A test that fails says it.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed, err := parse(os.Getenv("MESITA_SEED"))
	if err != nil {
		t.Fatalf("MESITA_SEED: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to repeat it: MESITA_SEED=%d", seed)
		}
	})
	return seed
}

func parse(s string) (uint64, error) {
	switch s {
	case "":
		return 1, nil
	case "random":
		return rand.Uint64() | 1, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	return n, err
}

// Rand draws from Seed.
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(Seed(t), 1))
}

// Check is rapid.Check from Seed. The flags -rapid.seed and -rapid.checks come
// before the environment.
func Check(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	set := func(name, value string) {
		if err := flag.Lookup(name).Value.Set(value); err != nil && value != "" {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if !given["rapid.seed"] {
		set("rapid.seed", strconv.FormatUint(Seed(t), 10))
	}
	if checks := os.Getenv("MESITA_CHECKS"); checks != "" && !given["rapid.checks"] {
		set("rapid.checks", checks)
	}
	rapid.Check(t, property)
}
