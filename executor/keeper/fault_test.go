package keeper_test

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/executor/keeper"
	"github.com/mesita/mesita/isolation"
)

// What fails for what a task asks for is its own fault: a node that was blamed for
// that would be left alone by all others.
func TestWhatATaskAsksForIsItsOwnFault(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("other users need root")
	}
	const uid = 61234
	r := newRig(t)
	c := r.client()
	as := func(id string) keeper.StartRequest {
		q := r.request(id, "/bin/sleep", "1000")
		q.UID, q.GID, q.Dir = uid, uid, "/"
		return q
	}
	if _, err := c.Start(t.Context(), as("a.0/1")); err != nil {
		t.Fatal(err)
	}
	crowded := as("a.1/1")
	crowded.Rlimits = []isolation.Rlimit{{Resource: unix.RLIMIT_NPROC}}
	closed, err := os.MkdirTemp("/tmp", "mesita-closed-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(closed)
	if err := os.Mkdir(closed+"/in", 0o755); err != nil {
		t.Fatal(err)
	}
	hidden := as("a.2/1")
	hidden.PrivateMounts, hidden.Temporary, hidden.Named = true, t.TempDir(), []string{closed + "/in/"}
	for name, q := range map[string]keeper.StartRequest{"fewer processes than its user has": crowded, "a folder that its user cannot come to": hidden} {
		if _, err := c.Start(t.Context(), q); !errors.Is(err, keeper.ErrProgram) {
			t.Errorf("%s: %v", name, err)
		}
	}
	hidden.ID = "a.3/1"
	if err := os.Chmod(closed, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(t.Context(), hidden); err != nil {
		t.Errorf("it can come there: %v", err)
	}
}
