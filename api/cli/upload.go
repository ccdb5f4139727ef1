package cli

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

// systemFolders hold programs that other nodes have too.
var systemFolders = []string{"/bin/", "/sbin/", "/usr/", "/lib", "/opt/"}

// upload stores the program of a spec in the cluster if it is a file of this
// machine that the other nodes lack.
func (a *app) upload(c *cli.Context, cl *client.Client, s *api.JobSpec) error {
	path := s.Command[0]
	if c.Bool("no-upload") || !strings.Contains(path, "/") {
		return nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	for _, f := range systemFolders {
		if strings.HasPrefix(abs, f) {
			return nil
		}
	}
	info, err := os.Stat(abs)
	if err != nil {
		if filepath.IsAbs(path) {
			return nil // it may be there on the nodes
		}
		return api.FieldErrorf("command", "%s is not there: name a program of this machine, or one by its full path on the nodes", path)
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return api.FieldErrorf("command", "%s is no executable file: chmod +x it, or use --no-upload", path)
	}
	digest, uploaded, err := cl.UploadProgram(c.Context, abs)
	if err != nil {
		return err
	}
	if uploaded {
		a.progress("uploaded %s (%s)", filepath.Base(path), api.Bytes(info.Size()))
	}
	s.Program = digest
	return nil
}
