package cluster

import (
	"testing"

	"github.com/mesita/mesita/api"
)

// A seed that is not an address is refused by name, not tried for ever.
func TestSeedsAreAddresses(t *testing.T) {
	for _, s := range []string{"10.0.0.1", "10.0.0.1:6000", "oak", "oak:5050", "fe80::1", "[fe80::1]:5050"} {
		if _, err := New(Config{DataDir: t.TempDir(), Seeds: []string{s}}); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{"", "oak:x", "oak:0", "oak:70000", ":5050"} {
		_, err := New(Config{DataDir: t.TempDir(), Seeds: []string{s}})
		if e, ok := err.(*api.Error); !ok || e.Field != "seed" {
			t.Errorf("%q: %v", s, err)
		}
	}
}
