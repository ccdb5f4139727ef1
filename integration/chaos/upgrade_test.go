package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/lab"
)

// keeper is a process with the command line of a program's keeper in that folder,
// until it is told to end.
func keeper(t *testing.T, bin, dir string) (end func()) {
	t.Helper()
	at := t.TempDir()
	if err := os.WriteFile(filepath.Join(at, "keeper"), []byte("echo; read -r line"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &exec.Cmd{Path: "/bin/sh", Args: []string{bin, "keeper", "--slice", "s", "--dir", dir}, Dir: at}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	end = func() {
		_ = in.Close()
		_ = c.Wait() // both may have been done before
	}
	t.Cleanup(end)
	return end
}

// A daemon that restarts has a keeper that answers for the tasks, unless the
// cluster is at a level at which none is asked, or the keeper is of such a program.
func TestWhoAnswersForARestart(t *testing.T) {
	dir := t.TempDir()
	n, other := &lab.Node{Dir: filepath.Join(dir, "n1")}, &lab.Node{Dir: filepath.Join(dir, "n2")}
	r := &run{mute: filepath.Join(dir, "older")}
	is := func(when string, n *lab.Node, want record.Trouble) {
		t.Helper()
		if got := r.restarted(n); got != want {
			t.Errorf("%s a restart is %q, want %q", when, got, want)
		}
	}
	keeper(t, filepath.Join(dir, "newer"), n.Dir+"/keeper")
	is("below level 1", n, record.Silent)
	r.leveled = true
	is("with a new keeper", n, record.Away)
	end := keeper(t, r.mute, n.Dir+"/keeper-2")
	is("with an old keeper beside", n, record.Silent)
	is("with an old keeper on another node", other, record.Away)
	end()
	is("after the end of the old keeper", n, record.Away)
	r.mute, r.leveled = "", false
	is("from a program whose keepers answer", n, record.Away)
}
