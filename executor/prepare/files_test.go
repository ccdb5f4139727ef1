package prepare

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/isolation"
)

var nobody = isolation.Program{UID: 65534, GID: 65533}

// withFiles is a task with two files, in its folder, whose content is that of digests.
func withFiles(t *testing.T) (p *Preparer, s *api.TaskSpec, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root gives files to others")
	}
	p = testRoot(t)
	conf, run := "sha256:"+strings.Repeat("1", 64), "sha256:"+strings.Repeat("2", 64)
	p.Open = func(digest string) (io.ReadCloser, int64, error) {
		return io.NopCloser(strings.NewReader("content of " + digest)), 0, nil
	}
	dir = p.Folders.Dir("web.3/2")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return p, &api.TaskSpec{Files: map[string]string{"etc/app/app.conf": api.FileValue(conf, false), "run": api.FileValue(run, true)}}, dir
}

func put(t *testing.T, p *Preparer, s *api.TaskSpec) {
	t.Helper()
	if err := p.PutFiles("web.3/2", s, nobody); err != nil {
		t.Fatal(err)
	}
}

// Files are there whole, of the task's user, with their modes, whatever an attempt that
// was cut off left; and of those that are as they were put nothing is left at the end.
func TestFilesArePutAndTaken(t *testing.T) {
	p, s, dir := withFiles(t)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, incomingFile), []byte("half"), 0o600), os.WriteFile(filepath.Join(dir, "run"), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	put(t, p, s)
	for name, want := range map[string]fs.FileMode{"etc": fs.ModeDir | 0o755, "etc/app": fs.ModeDir | 0o755, "etc/app/app.conf": 0o644, "run": 0o755} {
		path := filepath.Join(dir, name)
		fi, err := os.Lstat(path)
		if err != nil || fi.Mode() != want || uidOf(t, path) != nobody.UID {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
	}
	for name, value := range s.Files {
		digest, _, _ := api.ParseFile(value)
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != "content of "+digest {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	p.TakeFiles("web.3/2", s, time.Now())
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v are left", left, err)
	}
	put(t, p, s)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "run"), []byte("output"), 0), os.WriteFile(filepath.Join(dir, "etc/more"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	p.TakeFiles("web.3/2", s, time.Now()) // as with a clock of files that is coarse
	if b, err := os.ReadFile(filepath.Join(dir, "run")); err != nil || string(b) != "output" {
		t.Errorf("what the task changed: %q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "etc/app")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "etc/more")); err != nil {
		t.Error(err)
	}
}

// No link in the folder leads a file out of it, whoever of the same user made it.
func TestFilesStayInTheFolder(t *testing.T) {
	p, s, dir := withFiles(t)
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("mine"), 0o600), os.Symlink(outside, filepath.Join(dir, "etc")),
		os.Symlink(victim, filepath.Join(dir, "run")), os.Symlink(victim, filepath.Join(dir, incomingFile))); err != nil {
		t.Fatal(err)
	}
	if err := p.PutFiles("web.3/2", s, nobody); err == nil {
		t.Error("a file was put through a link")
	}
	p.TakeFiles("web.3/2", s, time.Now().Add(time.Hour))
	if b, err := os.ReadFile(victim); err != nil || string(b) != "mine" || uidOf(t, victim) != 0 {
		t.Errorf("%q, %v", b, err)
	}
	if all, err := os.ReadDir(outside); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

// What cannot be put leaves nothing: most likely the disk is full.
func TestFilesThatCannotBePut(t *testing.T) {
	p, s, dir := withFiles(t)
	whole := p.Open
	p.Open = func(digest string) (io.ReadCloser, int64, error) {
		if strings.HasPrefix(digest, "sha256:1") {
			return whole(digest)
		}
		return io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, 100)), full{})), 0, nil
	}
	if err := p.PutFiles("web.3/2", s, nobody); !errors.Is(err, errNoSpace) || !strings.Contains(err.Error(), "put the task's file run: ") {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v are left", left, err)
	}
}

// Files are not put where less would be left of the disk than stays free, and no more of
// them than any task may have, whatever the cluster believes that they are.
func TestFilesHaveToFit(t *testing.T) {
	for name, c := range map[string]struct {
		each int64
		room error
		says string
	}{
		"a disk without room": {5, fmt.Errorf("10B more: %w", unix.ENOSPC), "10B more"},
		"more than may be":    {int64(api.MaxFilesSize)/2 + 1, nil, "at most 64MiB are allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			p, s, dir := withFiles(t)
			asked := int64(0)
			p.Room = func(bytes int64) error { asked = bytes; return c.room }
			p.Open = func(string) (io.ReadCloser, int64, error) {
				return io.NopCloser(strings.NewReader("12345")), c.each, nil
			}
			err := p.PutFiles("web.3/2", s, nobody)
			if err == nil || !strings.Contains(err.Error(), c.says) || OfDisk(err) != (c.room != nil) || c.room != nil && asked != 2*c.each {
				t.Errorf("%v, asked for %d bytes", err, asked)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%v, %v are there", left, err)
			}
		})
	}
}

func uidOf(t *testing.T, path string) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid
}

var errNoSpace = errors.New("no space")

type full struct{}

func (full) Read([]byte) (int, error) { return 0, errNoSpace }

// A command that is one of the files is run from the task's folder, by any name of it.
func TestAFileIsTheCommand(t *testing.T) {
	p, s, dir := withFiles(t)
	for _, name := range []string{"./run", "./etc/../run"} {
		s.Command = []string{name}
		spec, err := p.Task("web.3/2", testTask, s, 0)
		if err != nil || spec.Program.Path != filepath.Join(dir, "run") || spec.Program.Dir != dir || spec.Program.Args[0] != name {
			t.Errorf("%s: %+v, %v", name, spec.Program, err)
		}
	}
	s.Command = []string{"run"} // it is not in PATH
	if spec, err := p.Task("web.3/2", testTask, s, 0); err == nil {
		t.Errorf("%+v", spec.Program)
	}
}
