package cli

import (
	"strings"
	"testing"
)

// Where there is nothing to list, a person is told so and what to read; a program gets what
// it always does.
func TestNoFrameworkIsRegistered(t *testing.T) {
	withFake(t).bare = true
	for args, want := range map[string]bool{"framework ls": true, "framework ls -o json": false, "framework ls -q": false} {
		r := run(t.Context(), strings.Fields(args)...)
		if said := strings.Contains(r.err, "mesita help frameworks"); r.code != 0 || said != want || strings.Contains(r.out, "help") {
			t.Errorf("%s: %+v", args, r)
		}
	}
}
