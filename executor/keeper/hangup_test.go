package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/isolation"
)

// lines calls f with each piece that is written.
type lines func(string)

func (f lines) Write(p []byte) (int, error) { f(string(p)); return len(p), nil }

// Whoever ran a command is gone: the command is hung up, with what it started,
// and killed if it stays. With a terminal too.
func TestACommandIsHungUp(t *testing.T) {
	r := newRig(t)
	c := r.client()
	c.start("a.0/1", "/bin/sleep", "1000")
	for name, tty := range map[string]bool{"plain": false, "terminal": true} {
		mark := filepath.Join(t.TempDir(), "mark")
		// The child in the background is of the group, and hears of it itself. Who
		// writes to a pipe that nobody reads ends by that.
		script := `exec 2>/dev/null; trap 'echo "$0 hung up" >>` + mark + `; exit' HUP; sh -c 'trap "echo child hung up >>` + mark + `; exit" HUP; echo ready; while :; do sleep 0.01; done' & while :; do sleep 0.01; done`
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("its caller is gone")
		_, err := c.Exec(ctx, keeper.ExecRequest{ID: "a.0/1", Spec: isolation.Spec{Program: isolation.Program{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Dir: "/", TTY: tty}},
			Stdout: lines(func(string) { cancel(gone) })})
		if !errors.Is(err, gone) {
			t.Fatalf("%s: %v", name, err)
		}
		r.until(name+" command was hung up, and its child", func() bool {
			b, _ := os.ReadFile(mark)
			return strings.Contains(string(b), "sh hung up") && strings.Contains(string(b), "child hung up")
		})
	}
	out := filepath.Join(t.TempDir(), "out")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Exec(ctx, keeper.ExecRequest{ID: "a.0/1", Spec: isolation.Spec{Program: program("/bin/sh", "-c", "trap '' HUP; exec >>"+out+"; echo $$; exec sleep 1000")},
		Stdin: hangUpWhen(func() bool { b, _ := os.ReadFile(out); return len(b) > 0 }, cancel)})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r.until("who ignores it is killed", func() bool { return !runs(r, out) })
}

// A command that does not begin leaves nothing behind in the daemon.
func TestACommandThatFailsLeavesNothing(t *testing.T) {
	r := newRig(t)
	c := r.client()
	c.start("a.0/1", "/bin/sleep", "1000")
	for range 10 {
		if _, err := c.Exec(t.Context(), keeper.ExecRequest{ID: "a.0/1", Spec: isolation.Spec{Program: program("/nonexistent")}}); err == nil {
			t.Fatal("a program that is not there was run")
		}
	}
	var left strings.Builder
	r.until("no goroutine is left of them", func() bool {
		left.Reset()
		_ = pprof.Lookup("goroutine").WriteTo(&left, 1) // to memory
		return !strings.Contains(left.String(), "(*streams)")
	})
}

// hangUpWhen is an input that has nothing, and ends when something is so.
func hangUpWhen(ok func() bool, then func()) io.Reader {
	return readFunc(func([]byte) (int, error) {
		for !ok() {
			<-time.After(5 * time.Millisecond)
		}
		then()
		return 0, io.EOF
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// runs reports whether some process has that file open as its output.
func runs(r *rig, out string) bool {
	links, err := filepath.Glob("/proc/[0-9]*/fd/1")
	if err != nil {
		r.Fatal(err)
	}
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && to == out {
			return true
		}
	}
	return false
}

// What the caller of a command is sent, the command and what it started are.
func TestACommandIsSentItsCallersSignals(t *testing.T) {
	r := newRig(t)
	c := r.client()
	c.start("a.0/1", "/bin/sleep", "1000")
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP} {
		signals := make(chan syscall.Signal, 1)
		res, err := c.Exec(t.Context(), keeper.ExecRequest{ID: "a.0/1", Signals: signals, Spec: isolation.Spec{Program: program("/bin/sh", "-c", "echo ready; exec sleep 1000")},
			Stdout: lines(func(string) { signals <- sig })})
		if err != nil || res.Signal != sig {
			t.Errorf("%v: %+v, %v", sig, res, err)
		}
		res, err = c.Exec(t.Context(), keeper.ExecRequest{ID: "a.0/1", Signals: signals, Spec: isolation.Spec{Program: program("/bin/sh", "-c", "trap 'exit 9' INT TERM QUIT HUP; echo ready; while :; do sleep 0.01; done")},
			Stdout: lines(func(string) { signals <- sig })})
		if err != nil || res.Code != 9 {
			t.Errorf("%v is caught: %+v, %v", sig, res, err)
		}
	}
	signals := make(chan syscall.Signal, 1)
	res, err := c.Exec(t.Context(), keeper.ExecRequest{ID: "a.0/1", Signals: signals, Spec: isolation.Spec{Program: program("/bin/sh", "-c", "trap '' INT TERM QUIT HUP; echo ready; while :; do sleep 0.01; done")},
		Stdout: lines(func(string) { signals <- syscall.SIGKILL })})
	if err != nil || res.Signal != syscall.SIGKILL {
		t.Errorf("killed: %+v, %v", res, err)
	}
}

// How other tasks end is nothing to a command, nor to whoever runs it, also
// below a keeper of before, which tells everybody.
func TestACommandIsNotTheEndOfOtherTasks(t *testing.T) {
	for name, c := range map[string]func(t *testing.T) *client{ // in a slice of its own each
		"as now": func(t *testing.T) *client { c := newRig(t).client(); c.start("a.0/1", "/bin/sleep", "1000"); return c },
		"before": func(t *testing.T) *client { _, c := upgraded(t, nil); return c },
	} {
		t.Run(name, func(t *testing.T) {
			c, out := c(t), &strings.Builder{}
			stdin := readFunc(func() func(p []byte) (int, error) {
				left := 3
				return func(p []byte) (int, error) {
					if left == 0 {
						return 0, io.EOF
					}
					id := fmt.Sprintf("b.%d/1", left)
					c.start(id, "/bin/true")
					c.exit(id)
					left--
					return copy(p, id), nil
				}
			}())
			res, err := c.Exec(t.Context(), keeper.ExecRequest{ID: "a.0/1", Spec: isolation.Spec{Program: program("/bin/sh", "-c", "cat; exit 9")}, Stdin: stdin, Stdout: out})
			if err != nil || res.Code != 9 || out.String() != "b.3/1b.2/1b.1/1" {
				t.Errorf("%+v, %v: %q", res, err, out)
			}
		})
	}
}
