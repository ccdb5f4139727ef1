package cli

import (
	"os"
	"path/filepath"
	"testing"
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
