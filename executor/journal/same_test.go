package journal

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A start that finds all as the last one left it writes nothing: each change waits for
// the disk, and the node with it.
func TestAStartThatChangesNothingWritesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	start := func(boot, age string) []byte {
		j, entries, err := Open(path, quiet())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Begin(boot, age, entries); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := start("b1", "a1")
	if !bytes.Equal(first, start("b1", "a1")) {
		t.Error("the same start wrote")
	}
	for _, other := range [][2]string{{"b2", "a1"}, {"b2", "a2"}} {
		if bytes.Equal(first, start(other[0], other[1])) {
			t.Errorf("a start under boot %s in age %s wrote nothing", other[0], other[1])
		}
	}
}
