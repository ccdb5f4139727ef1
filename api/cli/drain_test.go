package cli

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A drain that leaves a task without a node is a question on a terminal, where no answer
// but yes has it done.
func TestADrainAsksIfATaskHasNowhereToGo(t *testing.T) {
	for answer, want := range map[string]struct {
		code  int
		calls []string
		said  string
	}{
		"\n":  {1, nil, "nothing is done"},
		"n\n": {1, nil, "nothing is done"},
		"y\n": {0, []string{"POST /v1/nodes/oak/drain"}, "y"},
	} {
		socket := filepath.Join(t.TempDir(), "s")
		f, err := newFake(socket)
		if err != nil {
			t.Fatal(err)
		}
		defer f.http.Close()
		side, main := ptyOf(t)
		if _, err := main.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		code := Main(t.Context(), []string{"mesita", "--socket", socket, "node", "drain", "oak", "--detach"}, side, side, side)
		b := make([]byte, 4096)
		n, _ := main.Read(b)
		text := string(b[:n])
		for !strings.Contains(text, "[y/N]") || !strings.Contains(text, want.said) {
			n, err := main.Read(b)
			if err != nil {
				t.Fatalf("%q: %q, %v", answer, text, err)
			}
			text += string(b[:n])
		}
		if code != want.code || !slices.Equal(f.calls, want.calls) || !strings.Contains(text, "no other node to run on, the first is web.0") {
			t.Errorf("%q: code %d, %v: %s", answer, code, f.calls, text)
		}
	}
}
