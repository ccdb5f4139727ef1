package prepare

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
)

// A daemon that has too many files open, or a disk or file server that does not
// answer as it should, finds nothing out about what it looks for: none of that
// is said to be the task's fault.
func TestWhatIsScarceHereIsNoFaultOfTheTask(t *testing.T) {
	p := testRoot(t)
	if _, err := p.Task("web.3/2", testTask, &api.TaskSpec{Command: []string{"tool"}}, 0); err != nil {
		t.Fatal(err)
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	errs := map[string]error{}
	for name, s := range map[string]*api.TaskSpec{
		"a program in PATH": {Command: []string{"tool"}}, "a path": {Command: []string{"/box/tool"}}, "a user": {Command: []string{"tool"}, User: "ann"},
		"a folder": {Command: []string{"tool"}, Dir: "/box"},
	} {
		_, errs[name] = p.Task("web.3/2", testTask, s, 0)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	for name, err := range errs {
		if own := (*Error)(nil); !errors.Is(err, unix.EMFILE) || errors.As(err, &own) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for no, of := range map[unix.Errno]bool{unix.ENOENT: false, unix.ENOTDIR: false, unix.EACCES: false, unix.ELOOP: false, unix.EIO: true, unix.ENOMEM: true, unix.ENOTCONN: true, unix.ETIMEDOUT: true} {
		if ofMachine(&os.PathError{Op: "open", Err: no}) != of {
			t.Errorf("%v", no)
		}
	}
	if err := os.Symlink("round", p.Root+"/box/round"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.root().program("/box/round", "/", ""); err == nil || strings.Contains(err.Error(), "open") {
		t.Error(err)
	}
}

// Attempts of a task have one environment, in one order.
func TestTheEnvironmentHasAnOrder(t *testing.T) {
	s := &api.TaskSpec{Env: map[string]string{"B": "1", "A": "2", "Z": "3", "MESITA_X": "4"}}
	for range 20 {
		if env := (&Preparer{Node: "oak"}).environ("/x", "/d", testTask, s, account{name: "ann"}); !slices.IsSorted(env) {
			t.Fatal(env)
		}
	}
}
