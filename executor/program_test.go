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

// A program or file that was damaged on this node's disk is never used: it is fetched
// anew, or the start fails for the node's reasons, with the file named.
func TestADamagedProgram(t *testing.T) {
	damagedUpload(t, func(s *api.JobSpec, digest string) { s.Program = digest })
}

func TestADamagedFile(t *testing.T) {
	damagedUpload(t, func(s *api.JobSpec, digest string) { s.Files = map[string]string{"a": digest} })
}

func damagedUpload(t *testing.T, use func(*api.JobSpec, string)) {
	program := []byte("#!/bin/sh\nexit 0\n")
	sum := sha256.Sum256(program)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	uploaded := func(_ *api.Task, s *api.JobSpec) { use(s, digest) }
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

// All that a task needs is fetched before it starts, each once; one that cannot be had
// fails the start, and what was fetched for it is not kept from going.
func TestEachUploadIsFetched(t *testing.T) {
	digests, content := []string{}, map[string]string{}
	for _, text := range []string{"program", "one", "two"} {
		sum := sha256.Sum256([]byte(text))
		digests = append(digests, "sha256:"+hex.EncodeToString(sum[:]))
		content[digests[len(digests)-1]] = text
	}
	none := "sha256:" + strings.Repeat("0", 64)
	bubble(t, func(t *testing.T, n *node) {
		n.stop()
		fetched := map[string]int{}
		n.cfg = func(c *executor.Config) {
			c.Fetch = func(_ context.Context, digest string, w io.Writer) error {
				if content[digest] == "" {
					return errors.New("no other node holds it")
				}
				fetched[digest]++
				_, err := io.WriteString(w, content[digest])
				return err
			}
		}
		n.start()
		needs := func(last string) func(*api.Task, *api.JobSpec) {
			return func(_ *api.Task, s *api.JobSpec) {
				s.Program, s.Files = digests[0], map[string]string{"a": digests[1], "b": api.FileValue(digests[2], true), "c": digests[1], "d": last}
			}
		}
		n.Assign(set(assignment("all", 0, 1, needs(digests[1])), assignment("all", 1, 1, needs(digests[2])), assignment("lacks", 0, 1, needs(none))))
		pass(time.Minute)
		settle()
		for _, d := range digests {
			if fetched[d] != 1 {
				t.Errorf("%s was fetched %d times", content[d], fetched[d])
			}
		}
		for _, task := range []string{"all.0", "all.1"} {
			if st := n.sink.last(task); st.State != api.TaskRunning {
				t.Errorf("%+v", st)
			}
		}
		if st := n.sink.last("lacks.0"); st.State != api.TaskFailed || st.Reason != api.ReasonFetchFailed || !strings.Contains(st.Message, "no other node holds it") {
			t.Errorf("%+v", st)
		}
	})
}
