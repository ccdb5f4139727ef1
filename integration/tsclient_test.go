package integration

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

// A client that public generators make of the OpenAPI description compiles strictly, and
// submits, awaits, reads, watches and stops jobs.
func TestAGeneratedClient(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("no npm on PATH, by which the generators are installed: apt-get install nodejs npm")
	}
	l := newLab(t, 1)
	n := l.Nodes[0]
	n.Launch("start", "--http", "127.0.0.1:5080")
	n.AwaitReady()

	dir := t.TempDir()
	var description json.RawMessage
	n.Must(http.MethodGet, "/v1/openapi.json", nil, &description)
	file := filepath.Join(dir, "openapi.json")
	if err := os.WriteFile(file, description, 0o644); err != nil {
		t.Fatal(err)
	}
	built := filepath.Join(dir, "built")
	if out, err := exec.Command(filepath.Join(lab.Root(t), "integration/tsclient/build"), built, file).CombinedOutput(); err != nil {
		t.Fatalf("generate and compile the client: %v: %s", err, out)
	}
	token := n.Token(api.TokenRequest{Kind: api.TokenClient, Name: "ci", Rights: []string{"deployer@default"}})
	out, err := exec.CommandContext(t.Context(), "nsenter", "--net=/run/netns/"+n.NS, "node", filepath.Join(built, "build/js/client.js"), "http://127.0.0.1:5080", token).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
