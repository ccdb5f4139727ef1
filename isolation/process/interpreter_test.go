//go:build (amd64 || arm64) && !startbythread

package process

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInterpretFits: what is copied of the code is all of it.
func TestInterpretFits(t *testing.T) {
	pc := uintptr(interpretPC())
	if pc == 0 || funcEntry(pc) != pc || funcEntry(pc+codeSize-1) == pc {
		t.Errorf("interpret is longer than %d bytes", codeSize)
	}
}

// TestAScriptFitsWhatIsAskedFor: however much that is, as a panic would be that of
// the parent of all tasks.
func TestAScriptFitsWhatIsAskedFor(t *testing.T) {
	st := &Starter{ProcRoot: "/proc", Log: slog.New(slog.DiscardHandler)}
	c := Spec{Program: Program{Path: "/bin/true", Args: []string{"true"}, Dir: "/", UID: uint32(os.Geteuid())}}
	for range 300 {
		c.Rlimits = append(c.Rlimits, Rlimit{Resource: unix.RLIMIT_CORE})
		c.Args, c.Env = append(c.Args, ""), append(c.Env, "X=")
	}
	b, err := st.Begin(Place{}, c, Files{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := b.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if e, err := p.Wait(); err != nil || e != (Exit{}) {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestGaps(t *testing.T) {
	for _, tt := range []struct {
		kept []interval
		want string
	}{
		{nil, "[{0 100}]"},
		{[]interval{{10, 20}}, "[{0 10} {20 100}]"},
		{[]interval{{50, 100}, {0, 10}}, "[{10 50}]"},
		{[]interval{{10, 30}, {20, 25}, {30, 40}}, "[{0 10} {40 100}]"},
	} {
		if got := fmt.Sprint(gaps(100, tt.kept...)); got != tt.want {
			t.Errorf("%v: %s, not %s", tt.kept, got, tt.want)
		}
	}
}

func funcEntry(pc uintptr) uintptr { return runtime.FuncForPC(pc).Entry() }
