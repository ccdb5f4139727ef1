package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// A node in the foreground has its slice from its data folder, by whatever path that is
// named, as what an earlier keeper left in a slice is looked for there alone. No two folders
// have the same.
func TestDevKeepsItsSlice(t *testing.T) {
	root := t.TempDir()
	t.Chdir(root)
	link := filepath.Join(t.TempDir(), "link")
	for _, err := range []error{os.Mkdir("data", 0o700), os.Mkdir("other", 0o700), os.Symlink(filepath.Join(root, "data"), link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := devSlice(filepath.Join(root, "data"))
	for _, same := range []string{"data", "./data/", "other/../data", link} {
		if got := devSlice(same); got != want {
			t.Errorf("%s: %s, not %s", same, got, want)
		}
	}
	before := devSlice(filepath.Join(link, "new", "deep"))
	if err := os.MkdirAll(filepath.Join("data", "new", "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := devSlice(filepath.Join(link, "new", "deep")); got != before {
		t.Errorf("%s once the folder is there, %s before", got, before)
	}
	if got := devSlice("other"); got == want {
		t.Errorf("two folders have the slice %s", got)
	}
}
