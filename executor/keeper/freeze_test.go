package keeper_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mesita/mesita/executor/keeper"
)

func TestFreezeUnknown(t *testing.T) {
	r := newRig(t)
	c := r.client()
	c.start("a/1", "/bin/sleep", "1000")
	if _, err := c.Freeze(t.Context(), "b/1"); !errors.Is(err, keeper.ErrUnknown) {
		t.Fatalf("error %v", err)
	}
	if _, err := c.Thaw(t.Context(), "b/1"); !errors.Is(err, keeper.ErrUnknown) {
		t.Fatalf("error %v", err)
	}
	if st, err := c.Thaw(t.Context(), "a/1"); err != nil || st.ID != "a/1" || st.Freezer { // nothing to do
		t.Fatalf("%+v %v", st, err)
	}
}

// Where there is no freezer nothing is stopped, and nobody is told so.
func TestUnfreezable(t *testing.T) {
	r := newRig(t)
	r.cfg.Argv[2] = strings.Replace(r.cfg.Argv[2], "exec env ", "exec env "+envRoot+"=/no/such/mount ", 1)
	c := r.client()
	pid := c.start("a/1", "/bin/sleep", "1000").PID
	if _, err := c.Freeze(t.Context(), "a/1"); !errors.Is(err, keeper.ErrUnfreezable) {
		t.Fatalf("error %v", err)
	}
	all, err := c.Running(t.Context())
	if err != nil || len(all) != 1 || all[0].Freezer || !all[0].Frozen.IsZero() {
		t.Fatalf("%+v %v", all, err)
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err != nil || strings.Contains(string(b), "(stopped)") {
		t.Fatalf("%s %v", b, err)
	}
}
