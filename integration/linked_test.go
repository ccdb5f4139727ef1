package integration

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"
)

// A linker that finds a call of a method by a name that it cannot know keeps every
// exported method of every type in the program: a tenth of the binary. Such calls came
// with text/template, and with reflection in libraries.
func TestNoMethodIsCalledByName(t *testing.T) {
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-dumpdep", "-o", filepath.Join(t.TempDir(), "mesita"), "..")
	said, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said[:min(len(said), 2000)])
	}
	if n := bytes.Count(said, []byte("\n")); n < 50_000 {
		t.Fatalf("the linker named %d dependencies: is -dumpdep another flag by now?", n)
	}
	for line := range bytes.Lines(said) {
		if bytes.Contains(line, []byte("<ReflectMethod>")) {
			t.Fatalf("all exported methods are kept, since this calls one by its name (go build -ldflags=-dumpdep says who needs it):\n%s", line)
		}
	}
}
