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

// oddWords are phrases that a native speaker would not use, and what to say instead.
var oddWords = []struct{ said, but, say string }{
	{said: `\btells? (whether|if)\b`, say: "reports whether"},
	{said: `(\w+\W+)?\b(is|are|was|were) no \w+`, but: `^(there|here)\b|\bno (` +
		`more|longer|such|better|worse|bigger|larger|nearer|other|shorter|less|lower|higher|older|newer|different|` +
		`greater|smaller|further|slower|faster|sooner|later|one|room|way|need|use|matter|answers)$`, say: "is not a"},
	{said: `\b(go|goes|went|gone|going) on\b`, say: "continues, or keeps doing it"},
	{said: `\b(give|gives|gave|given|giving) way\b`, say: "is preempted"},
	{said: `\b(is|are) to come: |\b(tasks|starts|attempts|requests|times?) to come\b`, say: "in the future, or future tasks"},
	{said: `\b(version|revision|step) %?\w+ by now\b`, say: "is now at version 2"},
	{said: `\bmore than any node has\b`, say: "no node is large enough"},
	{said: `\b(is|are|was|were) kept no longer\b`, say: "is no longer kept"},
	{said: `\bas ever\b`, say: "as before"},
}

// replayed are files with texts that apply writes to the state: every voter writes
// the same ones for the same entry, whatever its version, so these stay.
var replayed = map[string]bool{
	"fsm/cluster.go":     true,
	"fsm/incidentend.go": true,
	"fsm/tell.go":        true,
	"fsm/words.go":       true,
}

// What is read, of programs and their comments, tests and documents, is in plain English.
func TestPlainEnglish(t *testing.T) {
	type rule struct {
		said, but *regexp.Regexp
		say       string
	}
	var rules []rule
	for _, o := range oddWords {
		r := rule{said: regexp.MustCompile("(?i)" + o.said), say: o.say}
		if o.but != "" {
			r.but = regexp.MustCompile("(?i)" + o.but)
		}
		rules = append(rules, r)
	}
	wrapped := regexp.MustCompile(`[ \t]*\n[ \t]*// ?`) // a phrase may be on two lines of a comment
	read := 0
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		name := filepath.ToSlash(path[min(len("../"), len(path)):])
		switch {
		case err != nil:
			return err
		case d.IsDir() && (len(d.Name()) > 2 && d.Name()[0] == '.' || name == "fsm/testdata"): // the logs of before are replayed
			return filepath.SkipDir
		case d.IsDir() || replayed[name]:
			return nil
		}
		switch filepath.Ext(name) {
		case ".go", ".md", ".txtar", ".html", ".js":
		default:
			return nil
		}
		b, err := os.ReadFile(path)
		read++
		text := wrapped.ReplaceAllString(string(b), " ")
		for _, r := range rules {
			for _, found := range r.said.FindAllString(text, -1) {
				if r.but == nil || !r.but.MatchString(found) {
					t.Errorf("%s has %q: say %s", name, found, r.say)
				}
			}
		}
		return err
	})
	if err != nil || read < 500 {
		t.Fatalf("%d files were read: %v", read, err)
	}
}
