package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Half of the program at least is not needed once it was started, and this goes
// on with what is.
func TestTheProgramGivesBackWhatItsStartNeeded(t *testing.T) {
	before := mapped(t)
	dropProgram()
	if after := mapped(t); after > before/2 {
		t.Errorf("%d kB of the program's file are mapped, and were %d", after, before)
	}
}

// mapped is how much of files is mapped into this process, in kB.
func mapped(t *testing.T) (kB int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "RssFile:")
	if _, err := fmt.Sscan(rest, &kB); err != nil {
		t.Fatal(err)
	}
	return kB
}
