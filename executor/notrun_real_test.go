package executor_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor"
)

// arm is the beginning of a program for a processor that is not ours.
var arm = append([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00\x01\x00\x00\x00"), make([]byte, 64)...)

// cut is the beginning of a program of this machine, with the headers of a loader that
// is named where nothing is any more.
func cut(t *testing.T) []byte {
	b, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	return b[:min(len(b), 150)]
}

// Why a program is not executed is said in its user's words: what is wrong with
// it, on which node, under the name that the user gave it and nowhere by the
// path of its upload.
func TestWhatCannotBeExecutedSaysWhy(t *testing.T) {
	r := newReal(t)
	files := map[string]struct {
		content []byte
		says    string
	}{
		"empty":     {nil, "program ./empty is an empty file"},
		"text":      {[]byte("echo hello\n"), "program ./text is neither a binary for Linux nor a script"},
		"arm":       {arm, "program ./arm is built for arm and node oak is of "},
		"nopython":  {[]byte("#!/no/such/python\n"), "script ./nopython names the interpreter /no/such/python, which node oak cannot execute"},
		"dos":       {[]byte("#!/bin/sh\r\nexit\r\n"), "the first line of script ./dos ends as in DOS"},
		"noshell":   {[]byte("#!\nexit\n"), "program ./noshell names no interpreter"},
		"cut":       {cut(t), "program ./cut is cut off"},
		"forbidden": {[]byte("#!/bin/sh\n"), "may not be executed by user 65534 on node oak"},
	}
	var as []api.Assignment
	dir, err := os.MkdirTemp("/var/tmp", "mesita-programs-") // a task's /tmp is its own
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	inTemp, err := os.CreateTemp("/tmp", "mesita-program-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(inTemp.Name())
	if err := errors.Join(inTemp.Chmod(0o755), inTemp.Close()); err != nil {
		t.Fatal(err)
	}
	for name, f := range files {
		path := filepath.Join(dir, name)
		mode := os.FileMode(0o755)
		if name == "forbidden" {
			mode = 0o744
		}
		if err := os.WriteFile(path, f.content, mode); err != nil {
			t.Fatal(err)
		}
		as = append(as, assignment(name, 0, 1, batch, command(path), func(_ *api.Task, s *api.JobSpec) { s.User = "65534" }))
		if name == "forbidden" {
			continue // what was uploaded may be executed by all
		}
		sum := sha256.Sum256(f.content)
		digest := "sha256:" + hex.EncodeToString(sum[:])
		if err := r.PutBlob(digest, -1, bytes.NewReader(f.content)); err != nil {
			t.Fatal(err)
		}
		as = append(as, assignment(name+"-up", 0, 1, batch, command("./"+name), func(_ *api.Task, s *api.JobSpec) { s.Program = digest }))
	}
	as = append(as, assignment("web", 0, 1, command("sleep", "600")))
	r.Assign(as)
	for name, f := range files {
		st := r.state(name+".0", api.TaskFailed)
		if says := strings.ReplaceAll(f.says, "./", dir+"/"); st.Reason != api.ReasonStartFailed || !strings.Contains(st.Message, says) {
			t.Errorf("%s: %s: %s", name, st.Reason, st.Message)
		}
		if name == "forbidden" {
			continue
		}
		if st = r.state(name+"-up.0", api.TaskFailed); st.Reason != api.ReasonStartFailed || !strings.Contains(st.Message, f.says) || strings.Contains(st.Message, r.dir) {
			t.Errorf("%s, uploaded: %s: %s", name, st.Reason, st.Message)
		}
	}
	r.state("web.0", api.TaskRunning)
	for name, want := range map[string]struct {
		code int
		says string
	}{
		"/no/such/program":             {code: 127, says: "does not exist on node oak"},
		"no-such-program":              {code: 127, says: "is in none of the folders of PATH"},
		"/etc/passwd":                  {code: 126, says: "is not executable on node oak"},
		"/etc":                         {code: 126, says: "is a folder on node oak"},
		filepath.Join(dir, "nopython"): {code: 126, says: "names the interpreter /no/such/python"},
		filepath.Join(dir, "arm"):      {code: 126, says: "is built for arm"},
		filepath.Join(dir, "text"):     {code: 126, says: "is neither a binary"},
		inTemp.Name():                  {code: 127, says: "in the task's own /tmp on node oak: no such file or directory"},
	} {
		begun := false
		_, err := r.Exec(t.Context(), executor.ExecRequest{Task: "web.0", Command: []string{name}, Begin: func(*executor.ExecRequest) error { begun = true; return nil }})
		var e *api.Error
		if !errors.As(err, &e) || e.Exit != want.code || e.Code != api.CodeFailed || !strings.Contains(e.Message, want.says) || begun {
			t.Errorf("exec of %s: %v (%+v), begun %v", name, err, e, begun)
		}
	}
}
