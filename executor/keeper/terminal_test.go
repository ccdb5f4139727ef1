package keeper_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/executor/logs"
)

// A task's terminal is the keeper's: it stays when the daemon leaves, and whoever comes next
// types into it.
func TestATerminalOutlivesTheDaemon(t *testing.T) {
	r := newRig(t)
	first := r.client()
	req := r.request("a.0/1", "/bin/sh", "-c", "tty; stty size; read a; echo got $a; read b; stty size; exit 5")
	req.Terminal = &api.Terminal{Rows: 33, Cols: 99}
	if _, err := first.Start(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	said := func(c *client, what string) {
		t.Helper()
		r.until(what, func() bool { return strings.Contains(r.output("a.0/1", logs.Options{Stdout: true}), what) })
	}
	said(first, "/dev/pts/")
	said(first, "33 99")
	first.leave()
	c := r.client()
	term, err := c.Terminal(t.Context(), "a.0/1")
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	if _, err := term.Write([]byte("one\n")); err != nil {
		t.Fatal(err)
	}
	said(c, "got one")
	term.Resize(keeper.Size{Rows: 11, Cols: 22})
	if _, err := term.Write([]byte("two\n")); err != nil {
		t.Fatal(err)
	}
	r.until("its end", func() bool {
		all, err := c.Running(t.Context())
		return err == nil && len(all) == 1 && all[0].State == keeper.Ended && all[0].Code == 5
	})
	said(c, "11 22")
	if _, err := c.Terminal(t.Context(), "a.0/1"); !errors.Is(err, keeper.ErrNotRunning) {
		t.Errorf("of one that ended: %v", err)
	}
}

// Of a task without a terminal, or none at all, there is nothing to open.
func TestNoTerminalToOpen(t *testing.T) {
	r := newRig(t)
	c := r.client()
	c.start("a.0/1", "/bin/sleep", "1000")
	for id, want := range map[string]error{"a.0/1": keeper.ErrNoTerminal, "b.0/1": keeper.ErrUnknown} {
		if term, err := c.Terminal(t.Context(), id); !errors.Is(err, want) {
			t.Errorf("%s: %v, %v", id, term, err)
		}
	}
}
