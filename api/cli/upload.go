package cli

import (
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/mesita/mesita/api/program"
	"github.com/urfave/cli/v2"
)

// systemFolders hold programs that other nodes have too.
var systemFolders = []string{"/bin/", "/sbin/", "/usr/", "/lib", "/opt/"}

// local is the program of a spec that is to be uploaded, as the spec names it, and the
// field that does; "" if none is.
func local(c *cli.Context, s *api.JobSpec) (path, field string) {
	switch {
	case api.ValidDigest(s.Program):
		return "", ""
	case s.Program != "":
		return s.Program, "program"
	case len(s.Command) == 0, c.Bool("no-upload"), !strings.ContainsAny(s.Command[0], "/"+string(filepath.Separator)), s.OwnCommand() != "":
		return "", ""
	}
	return s.Command[0], "command"
}

// upload stores the program of a spec in the cluster if it is a file of this
// machine that the other nodes lack. Its path is relative to the folder; "" = the
// working folder.
func (a *app) upload(c *cli.Context, cl *client.Client, s *api.JobSpec, folder string) error {
	path, field := local(c, s)
	if path == "" {
		return nil
	}
	there := strings.HasPrefix(path, "/") && field == "command" // it may be on the nodes
	for _, f := range systemFolders {
		if there && strings.HasPrefix(filepath.ToSlash(filepath.Clean(path)), f) {
			return nil
		}
	}
	abs, err := filepath.Abs(beside(folder, path))
	if err != nil {
		return err
	}
	info, err := os.Stat(abs)
	if err != nil {
		if there {
			return nil
		}
		if folder != "" && folder != "." {
			return api.FieldErrorf(field, "%s is not in %s, where the file is that names it: put it there, or give its full path", path, folder)
		}
		return api.FieldErrorf(field, "%s is not there: name a program of this machine, or one by its full path on the nodes", path)
	}
	if !info.Mode().IsRegular() {
		return api.FieldErrorf(field, "%s is %s, and not a program", path, kindOf(info.Mode()))
	}
	if hasModes && info.Mode()&0o111 == 0 {
		return api.FieldErrorf(field, "%s is not an executable file: chmod +x it, or use --no-upload", path)
	}
	if err := a.runnable(c, cl, field, path, abs); err != nil {
		return err
	}
	if onlyLooks(c) {
		s.Program, err = client.ProgramDigest(abs)
		return err
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

// uploadFiles stores the files of a spec in the cluster, which it knows by their digests
// from then on. Their paths are relative to the folder.
func (a *app) uploadFiles(c *cli.Context, cl *client.Client, s *api.JobSpec, folder string) error {
	files, size := map[string]string{}, api.Bytes(0)
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		path := s.Files[name]
		if _, _, ok := api.ParseFile(path); ok { // as export prints it
			files[name] = path
			continue
		}
		field := "files." + name
		path = beside(folder, path)
		info, err := os.Stat(path)
		if err != nil {
			return option.Unreadable(field, path, err)
		}
		if !info.Mode().IsRegular() {
			return api.FieldErrorf(field, "%s is %s, and not a file: name its files one by one, or pack them into an archive", path, kindOf(info.Mode()))
		}
		if size += api.Bytes(info.Size()); size > api.MaxFilesSize {
			return api.FieldErrorf("files", "have more than %s together, the most that is allowed, as each attempt gets a copy: have the task fetch what is larger", api.MaxFilesSize)
		}
		digest, uploaded := "", false
		if onlyLooks(c) || c.Bool("dry-run") {
			digest, err = client.ProgramDigest(path)
		} else {
			digest, uploaded, err = cl.UploadProgram(c.Context, path)
		}
		if err != nil {
			return api.InField(field, err)
		}
		if uploaded {
			a.progress("uploaded %s (%s)", filepath.Base(path), api.Bytes(info.Size()))
		}
		files[name] = api.FileValue(digest, executable(path, info))
	}
	if len(files) > 0 {
		s.Files = files
	}
	alone := *s
	alone.Program = "" // it is uploaded next
	return alone.CheckUploaded()
}

// hasModes is whether the mode of a file says that it is a program.
const hasModes = runtime.GOOS != "windows"

func executable(path string, info os.FileInfo) bool {
	if hasModes {
		return info.Mode()&0o111 != 0
	}
	return isProgram(path)
}

// isProgram reports whether a file begins as a program does.
func isProgram(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = program.Look(f)
	return err == nil
}

// beside is a path as seen from a folder.
func beside(folder, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(folder, path)
}

// runnable refuses a file that no node could execute.
func (a *app) runnable(c *cli.Context, cl *client.Client, field, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return api.InField(field, err)
	}
	defer f.Close()
	is, err := program.Look(f)
	switch {
	case err != nil:
		return api.FieldErrorf(field, "%s %v", name, err)
	case is.DOS():
		return api.FieldErrorf(field, "the first line of %s ends as in DOS, with a carriage return that Linux takes for a part of the interpreter's name: convert it, with dos2unix for instance", name)
	case is.Arch == "":
		return nil
	}
	nodes, err := cl.Nodes(c.Context, false)
	if err != nil {
		return err
	}
	has := map[string]bool{}
	for _, n := range nodes {
		if arch := n.Attrs["arch"]; arch != "" {
			has[arch] = true
		}
	}
	if len(has) == 0 || has[is.Arch] || has[wider[is.Arch]] {
		return nil
	}
	return api.FieldErrorf(field, "%s is built for %s, and the nodes are of %s: build it for one of those (with Go: GOARCH=%s)", name, is.Arch,
		strings.Join(slices.Sorted(maps.Keys(has)), ", "), slices.Sorted(maps.Keys(has))[0])
}

// wider is the architecture whose kernels mostly run the programs of a narrower
// one, too.
var wider = map[string]string{"386": "amd64", "arm": "arm64"}

// kindOf names what is not a regular file.
func kindOf(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&os.ModeNamedPipe != 0:
		return "a pipe"
	case m&os.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}
