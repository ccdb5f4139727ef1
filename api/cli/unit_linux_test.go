package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUsersAreValid: systemd makes the user of tasks from what is installed.
func TestUsersAreValid(t *testing.T) {
	sysusers, err := exec.LookPath("systemd-sysusers")
	if err != nil {
		t.Skip("no systemd-sysusers")
	}
	root := t.TempDir()
	path := filepath.Join(root, "mesita.conf")
	if err := errors.Join(os.WriteFile(path, []byte(usersText), 0o644), os.Mkdir(filepath.Join(root, "etc"), 0o755)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(sysusers, "--root="+root, path).CombinedOutput()
	made, readErr := os.ReadFile(filepath.Join(root, "etc/group"))
	if err != nil || readErr != nil || !strings.HasPrefix(string(made), "mesita-task:") {
		t.Errorf("%v, %v: %s%s", err, readErr, out, made)
	}
}

// systemd finds nothing wrong with the unit that is installed.
func TestUnitIsValid(t *testing.T) {
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze")
	}
	path := filepath.Join(t.TempDir(), "mesita.service")
	if err := os.WriteFile(path, fmt.Appendf(nil, unitText, "/bin/true node start --foreground"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(verify, "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}
