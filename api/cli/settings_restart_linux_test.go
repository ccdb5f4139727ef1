package cli

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// A node that could not be started again is not stopped for it: its settings are looked
// at first, those of its folder and those that it was started with.
func TestSettingsAreLookedAtBeforeARestart(t *testing.T) {
	for name, c := range map[string]struct{ file, flags, want string }{
		"as it was":            {"listen: 10.0.0.1:5050\nadvertise: 10.0.0.1\n", "--attr rack=a", ""},
		"an address":           {"advertise: 9.9.9.9.9:1\n", "", "node.yaml:1: advertise: \"9.9.9.9.9:1\" is not an address"},
		"no address":           {"advertise: 0.0.0.0:5050\n", "", "is not an address"},
		"a name":               {"advertise: db.example.com\n", "", "is not an address"},
		"a flag":               {"", "--http 10.0.0.1:80", "http: "},
		"an unknown setting":   {"lisen: 10.0.0.1:5050\n", "", "did you mean listen?"},
		"a flag before a file": {"advertise: x\n", "--advertise 10.0.0.2:5050", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "d", "node.yaml"), []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			a := &app{}
			ctx := cli.NewContext(a.root(), flag.NewFlagSet("", flag.ContinueOnError), nil)
			args := append([]string{"mesita", "node", "start"}, strings.Fields(c.flags)...)
			for how, start := range map[string]*exec.Cmd{
				"by its folder":     {Args: append(args[:len(args):len(args)], "--data", "d"), Dir: dir},
				"by its variable":   {Args: args, Env: []string{"MESITA_DATA=d"}, Dir: dir},
				"by its whole path": {Args: append(args[:len(args):len(args)], "--data="+filepath.Join(dir, "d")), Dir: "/"},
			} {
				err := a.wouldStart(ctx, start)
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%s: %v, want %q", how, err, c.want)
				}
			}
		})
	}
}
