package isolation

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const showLimits = "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc; nice"

// TestRlimitsAndNice: with whatever namespaces, in a task and beside one, a
// process has the limits of its spec from its first instruction on.
func TestRlimitsAndNice(t *testing.T) {
	h := newHost(t)
	for i, private := range []bool{true, false} {
		s := create(t, h, fmt.Sprintf("job/task%d", i), Limits{})
		c := sh("echo ready; sleep 1000")
		c.PrivatePIDs, c.PrivateMounts = private, private
		c.Rlimits = []Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 100, Hard: 200}, {Resource: unix.RLIMIT_CORE, Soft: 0, Hard: 4096}}
		c.Nice = 7
		p := ready(t, s, c)
		c.Program = sh(showLimits).Program
		for where, run := range map[string]func(Files) (*Process, error){
			"its own": func(f Files) (*Process, error) { return s.Start(c, f) },
			"beside":  func(f Files) (*Process, error) { return s.StartBeside(p, c, f) },
		} {
			if out, e := outputOf(t, run); e != (Exit{}) || out != "100\n200\n0\n8\n7" {
				t.Errorf("%s, private %v: %+v: %q", where, private, e, out)
			}
		}
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		wait(t, p)
	}
}

// TestOpenFilesAreNotOurs: Go raises its own limit of open files, and the
// daemon's unit does.
func TestOpenFilesAreNotOurs(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		t.Fatal(err)
	}
	for _, private := range []bool{true, false} {
		c := sh("ulimit -Sn; ulimit -Hn")
		c.PrivatePIDs, c.PrivateMounts = private, private
		want := fmt.Sprintf("%d\n%d", min(1024, own.Max), min(512<<10, own.Max))
		if out, e := output(t, s, c); e != (Exit{}) || out != want {
			t.Errorf("%+v: %q, not %q", e, out, want)
		}
	}
}

// TestLimitsThatCannotBe: a process that cannot have its limits does not run.
func TestLimitsThatCannotBe(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	c := sh("exit 3")
	c.Rlimits = []Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 1 << 40, Hard: 1 << 40}} // above what fs.nr_open ever is
	var bad *RlimitError
	if _, err := s.Start(c, Files{}); !errors.As(err, &bad) || bad.Rlimit.Resource != unix.RLIMIT_NOFILE || !strings.Contains(err.Error(), "ulimit nofile=1099511627776:1099511627776 cannot be set") {
		t.Errorf("%v", err)
	}
	if left, err := s.Populated(); err != nil || left {
		t.Errorf("something is left: %v, %v", left, err)
	}
}
