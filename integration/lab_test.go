package integration

import (
	"os"
	"testing"

	"github.com/mesita/mesita/integration/lab"
)

func TestMain(m *testing.M) {
	if how := os.Getenv(writerEnv); how != "" {
		writeChance(how)
		return
	}
	// Tasks of before had the machine's /tmp, those of today have their own: they meet
	// the tests elsewhere.
	if os.Getenv("TMPDIR") == "" {
		os.Setenv("TMPDIR", "/var/tmp")
	}
	code := m.Run()
	lab.Tidy()
	os.Exit(code)
}

// newLab makes n nodes of the binary, none of them started.
func newLab(t *testing.T, n int) *lab.Lab {
	t.Helper()
	return lab.New(t, lab.Binary(t), n)
}

func sleeper(name string, count int) map[string]any {
	return map[string]any{"kind": "service", "name": name, "count": count, "cpus": 0.05, "mem": "16MiB", "stopGrace": "1s",
		"command": []string{"/bin/sh", "-c", "while :; do echo tick; sleep 0.2; done", "mesita-test-" + name}}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}
