package executor_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
)

// A program that was damaged on this node's disk never runs: it is fetched anew,
// or the start fails for the node's reasons, with the file named.
func TestADamagedProgram(t *testing.T) {
	program := []byte("#!/bin/sh\nexit 0\n")
	sum := sha256.Sum256(program)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	uploaded := func(_ *api.Task, s *api.JobSpec) { s.Program = digest }
	bubble(t, func(t *testing.T, n *node) {
		n.stop()
		fetched, nobody := 0, false
		n.cfg = func(c *executor.Config) {
			c.Fetch = func(_ context.Context, _ string, w io.Writer) error {
				if nobody {
					return errors.New("no other node holds it")
				}
				fetched++
				_, err := w.Write(program)
				return err
			}
		}
		n.start()
		path := filepath.Join(n.dir, "blobs", hex.EncodeToString(sum[:]))
		damage := func() {
			if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("#!/bin/sh\nexit 1\n"), 0o555)); err != nil {
				t.Fatal(err)
			}
		}
		as := set(assignment("a", 0, 1, uploaded))
		for i, want := range []int{1, 1, 2} { // the second is there, the third is damaged
			if i == 2 {
				damage()
			}
			as = append(as, assignment("b", i, 1, uploaded))
			n.Assign(as)
			settle()
			if b, err := os.ReadFile(path); err != nil || string(b) != string(program) || fetched != want {
				t.Fatalf("task %d: %q, fetched %d times: %v", i, b, fetched, err)
			}
			if st := n.sink.last(api.TaskID("b", i)); st.State != api.TaskRunning {
				t.Fatalf("task %d: %+v", i, st)
			}
		}
		damage()
		nobody = true
		n.Assign(append(as, assignment("b", 3, 1, uploaded)))
		pass(time.Minute)
		settle()
		st := n.sink.last("b.3")
		if st.State != api.TaskFailed || st.Reason != api.ReasonFetchFailed || st.PID != 0 || !strings.Contains(st.Message, path) {
			t.Fatalf("nobody has it: %+v", st)
		}
		if n.HasBlob(digest) {
			t.Fatal("it is said to be there")
		}
		if got := len(n.rt.Started()); got != 4 {
			t.Fatalf("%d starts, want 4", got)
		}
	})
}
