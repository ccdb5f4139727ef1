package cli

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the scripts print into them, and the golden files")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"mesita": func() { os.Exit(Main(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// Each script gets a cluster of its own; what changed it is in $WORK/calls
// after `calls`.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			socket := filepath.Join(e.WorkDir, "s")
			f, err := newFake(socket)
			if err != nil {
				return err
			}
			e.Defer(func() {
				f.http.CloseClientConnections()
				f.http.Close()
			})
			f.dir = filepath.Join(e.WorkDir, "task")
			e.Values["fake"] = f
			e.Setenv("MESITA_SOCKET", socket)
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "config"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":  code,
			"calls": calls,
			"sick":  sick,
			"old":   old,
		},
	})
}

// code runs mesita and checks its exit code: code N args…
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code NUMBER ARG…")
	}
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec("mesita", args[1:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("mesita: %v", err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// calls lists the requests that changed something since the last time.
func calls(ts *testscript.TestScript, _ bool, _ []string) {
	f := ts.Value("fake").(*fake)
	f.mu.Lock()
	defer f.mu.Unlock()
	out := ""
	for _, c := range f.calls {
		out += c + "\n"
	}
	f.calls = nil
	ts.Check(os.WriteFile(ts.MkAbs("calls"), []byte(out), 0o600))
}

// sick leaves the node that answers without a leader: sick REASON.
func sick(ts *testscript.TestScript, _ bool, args []string) {
	f := ts.Value("fake").(*fake)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sick = args[0]
}

// old makes the cluster one that changes one at a time, or with a number one in which
// so often something is changed meanwhile: old [NUMBER].
func old(ts *testscript.TestScript, _ bool, args []string) {
	f := ts.Value("fake").(*fake)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.old = len(args) == 0; !f.old {
		n, err := strconv.Atoi(args[0])
		ts.Check(err)
		f.raced = n
	}
}
