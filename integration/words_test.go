package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

// How many there are of something is said by api.Count, which knows of one.
func TestNumbersAgree(t *testing.T) {
	many := regexp.MustCompile(`%d (of the )?(tasks|jobs|nodes|voters|attempts|incidents|tokens|lines)\b`)
	below := map[string]bool{"fsm/words.go": true} // what was said before, and is replayed
	for _, dir := range []string{"api", "cluster", "executor", "fsm", "gossip", "isolation"} {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || below[filepath.ToSlash(path[len("../"):])] {
				return err
			}
			src, err := os.ReadFile(path)
			for _, found := range many.FindAllString(string(src), -1) {
				t.Errorf("%s has %q: use api.Count", path, found)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What confines tasks can be lifted part by part, and who reads of one reads of all.
func TestEachPartIsExplained(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, row, _ := strings.Cut(string(b), "\n| what lifts it |")
	row, _, _ = strings.Cut(row, "\n")
	for _, p := range api.Parts {
		if !strings.Contains(row, "`"+p.Name+"` (") {
			t.Errorf("SECURITY.md does not say what --unconfined %s lifts: %s", p.Name, p.Help)
		}
	}
}
