package prepare

import (
	"errors"
	"os"
	"path/filepath"
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

// What the task's user cannot come to is told in the user's words.
func TestWhatAUserCannotComeTo(t *testing.T) {
	s := new(isolation.Spec)
	s.Args, s.Path, s.UID = []string{"true"}, "/bin/true", 65534
	said := errors.New("start /bin/true: " + isolation.ReachOp + " /tmp/closed/in: permission denied")
	err := (&Preparer{Node: "oak"}).NotRun(s, said)
	if err == nil || !strings.HasPrefix(err.Error(), "user 65534 cannot come to what the task names on node oak (/tmp/closed/in: permission denied): ") {
		t.Error(err)
	}
}

// TestAProgramInATasksOwnFolder: the file of that name outside, which is another,
// is not looked at, and says nothing; one that the task sees does.
func TestAProgramInATasksOwnFolder(t *testing.T) {
	outside, err := os.MkdirTemp("/tmp", "mesita-outside-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(outside)
	path := filepath.Join(outside, "tool")
	if err := os.WriteFile(path, []byte("#!/no/such/python\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := &Preparer{Node: "oak"}
	for name, tt := range map[string]struct {
		own     bool
		named   []string
		reached []string
		said    string
		code    int
		says    string
	}{
		"none":                {own: true, said: "no such file or directory", code: CodeNoProgram, says: "the task's own /tmp on node oak: no such file"},
		"not to be executed":  {own: true, said: "permission denied", code: CodeNotRun, says: "the task's own /tmp on node oak: permission denied"},
		"beside what it sees": {own: true, named: []string{path + "2", outside + "/"}, reached: []string{path + "3"}, said: "no such file or directory", code: CodeNoProgram, says: "own /tmp"},
		"named":               {own: true, named: []string{path}, said: "no such file or directory", code: CodeNotRun, says: "/no/such/python"},
		"reached":             {own: true, reached: []string{outside}, said: "no such file or directory", code: CodeNotRun, says: "/no/such/python"},
		"the machine's":       {said: "no such file or directory", code: CodeNotRun, says: "/no/such/python"},
	} {
		s := new(isolation.Spec)
		s.Args, s.Path, s.Dir = []string{path}, path, "/"
		s.PrivateMemory, s.Named, s.Reached = tt.own, tt.named, tt.reached
		err := p.NotRun(s, errors.New("start "+path+": fork/exec "+path+": "+tt.said))
		var e *Error
		if !errors.As(err, &e) || e.Code != tt.code || !strings.Contains(e.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
