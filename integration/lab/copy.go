package lab

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// CopyLive copies the folder of a node that runs, as a backup might: what is gone
// by the time it is to be copied is left out.
func CopyLive(from, to string) error {
	cmd := exec.Command("cp", "-a", from, to)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	for line := range strings.Lines(string(out)) {
		if !strings.HasSuffix(strings.TrimSpace(line), "No such file or directory") {
			return fmt.Errorf("copy %s to %s: %w: %s", from, to, err, out)
		}
	}
	if _, err := os.Stat(to); err != nil {
		return fmt.Errorf("copy %s to %s: %w: %s", from, to, err, out)
	}
	return nil
}
