package isolation

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is covered is not there for a task and what runs beside it, whatever it
// does, and what it is to reach is as it was: by its path, to run and to write.
func TestCoveredFolders(t *testing.T) {
	h := newHost(t)
	s := create(t, h, "job/task", Limits{})
	data := filepath.Join(t.TempDir(), "data")
	own, bin, secret := filepath.Join(data, "tasks", "web.0.1"), filepath.Join(data, "blobs", "as", "tool"), filepath.Join(data, "node.key")
	for _, dir := range []string{own, filepath.Dir(bin), filepath.Join(data, "tasks", "db.0.1")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, mode := range map[string]os.FileMode{secret: 0o600, filepath.Join(data, "blobs", "digest"): 0o755} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho \"ran $0\"; exec /bin/sh -c \"$1\"\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../digest", bin); err != nil {
		t.Fatal(err)
	}
	digest := filepath.Join(data, "blobs", "digest")
	was, err := os.ReadFile(digest)
	if err != nil {
		t.Fatal(err)
	}
	look := "echo x > out; { echo evil >> " + bin + "; } 2>/dev/null; find " + data + "; cat " + secret + " 2>/dev/null; mkdir " + data + "/new 2>/dev/null; cd ..; echo *; " +
		"unshare -Urm sh -c 'umount " + data + "; cat " + secret + "' 2>/dev/null; :"
	c := confined(program(bin, bin, look))
	c.FilterSyscalls, c.Dir, c.Covered, c.Reached = false, own, []string{data}, []string{own, bin}
	want := strings.Join([]string{"ran " + bin, data, filepath.Dir(filepath.Dir(bin)), filepath.Dir(bin), bin, filepath.Dir(own), own, own + "/out", "web.0.1"}, "\n")
	check := func(what, out string, e Exit) {
		t.Helper()
		lines := strings.Fields(strings.ReplaceAll(out, "ran ", "ran_"))
		for _, l := range strings.Fields(strings.ReplaceAll(want, "ran ", "ran_")) {
			if !strings.Contains("\n"+strings.Join(lines, "\n")+"\n", "\n"+l+"\n") {
				t.Errorf("%s: %s is missing", what, l)
			}
		}
		if e != (Exit{}) || len(lines) != len(strings.Split(want, "\n")) {
			t.Errorf("%s: %+v\n%s\nand not\n%s", what, e, out, want)
		}
	}
	out, e := output(t, s, c)
	check("a task", out, e)
	if b, err := os.ReadFile(filepath.Join(own, "out")); err != nil || string(b) != "x\n" {
		t.Errorf("what it wrote: %q, %v", b, err)
	}
	if b, err := os.ReadFile(digest); err != nil || string(b) != string(was) {
		t.Errorf("a program that others run, too, became %q, %v", b, err)
	}
	first := c
	first.Path, first.Args = "/bin/sh", []string{"sh", "-c", "echo ready; exec sleep 1000"}
	p := ready(t, s, first)
	out, e = outputOf(t, func(f Files) (*Process, error) { return s.StartBeside(p, c, f) })
	check("beside it", out, e)
	if err := p.Signal(9); err != nil {
		t.Error(err)
	}
	wait(t, p)
	c.Path, c.Args, c.Dir, c.Covered = "/bin/cat", []string{"cat", secret}, "/", nil
	if out, e := output(t, s, c); e != (Exit{}) || !strings.Contains(out, "echo") {
		t.Errorf("not covered: %+v %s", e, out)
	}
}
