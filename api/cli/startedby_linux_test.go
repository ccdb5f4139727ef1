package cli

import (
	"os"
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
