package prepare

import (
	"errors"
	"strings"
	"testing"

	"github.com/mesita/mesita/isolation"
)

// TestAFolderIsNoProgram: what the user may not enter is not blamed on the
// program, whether it was named by a path or found in PATH.
func TestAFolderIsNoProgram(t *testing.T) {
	p := &Preparer{Node: "oak"}
	for name, said := range map[string]string{
		"true":      "start /bin/true: chdir /root: permission denied",
		"/bin/true": "start /bin/true: chdir /root: permission denied",
	} {
		s := new(isolation.Spec)
		s.Args, s.Path, s.Dir = []string{name}, "/bin/true", "/root"
		s.UID = 65534
		if err := p.NotRun(s, errors.New(said)); !strings.HasPrefix(err.Error(), "the working folder /root cannot be entered by user 65534 on ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
