package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mesita/mesita/api"
)

// The command that starts a node again names its data folder as it is seen from anywhere.
func TestTheDataFolderOfADaemon(t *testing.T) {
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, env, want string }{
		{"", "", "/var/lib/mesita"},
		{"", "/e/", "/e"},
		{"/a b/../c", "/e", "/c"},
		{"rel", "", filepath.Join(cwd, "rel")},
	} {
		args := []string{"node", "start"}
		if c.args != "" {
			args = append(args, "--data", c.args)
		}
		if got := dataOf(os.Getpid(), wordsOf(args), map[string]string{"MESITA_DATA": c.env}); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// What a person is told to type is about the node that it is said of.
func TestCommandsAboutTheNodeOfThisMachine(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{ofFolder("node start", api.DefaultDataDir), "mesita node start"},
		{ofFolder("node start", "/srv/a b"), "mesita node start --data '/srv/a b'"},
		{atSocket("node stop", ""), "mesita node stop"},
		{atSocket("node stop", api.DefaultSocket), "mesita node stop"},
		{atSocket("node restart", "/srv/s"), "mesita --socket /srv/s node restart"},
		{(&localDaemon{pid: os.Getpid(), socket: api.DefaultSocket}).startedBy(), "mesita node start"},
		{(&localDaemon{pid: os.Getpid(), socket: "/srv/s"}).startedBy(), "mesita node start --socket /srv/s"},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
	}
}

// Of a node for development is said how it was started, and of no other.
func TestHowANodeForDevelopmentWasStarted(t *testing.T) {
	dir := t.TempDir()
	for _, x := range []struct {
		args []string
		want string
	}{
		{[]string{"mesita", "dev", "--data", "a b"}, "mesita dev --data 'a b'"},
		{[]string{"/usr/bin/mesita", "dev"}, "mesita dev"},
		{[]string{"mesita", "node", "start", "--foreground", "--name", "dev"}, ""},
	} {
		c := &exec.Cmd{Path: "/bin/sh", Args: x.args, Dir: dir}
		if err := os.WriteFile(filepath.Join(dir, x.args[1]), []byte("echo up; read -r end\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.StdoutPipe()
		if err == nil {
			err = c.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = out.Read(make([]byte, 3)) // it is the shell by now
		if got := devLine(c.Process.Pid); err != nil || got != x.want {
			t.Errorf("%q: %v: %q, want %q", x.args, err, got, x.want)
		}
		_ = in.Close() // ends it
		_ = c.Wait()   // read fails at the end
	}
}
