package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/tree"
)

// localTarget is what a copy becomes here. A link that was named is followed, as whoever
// named it meant what it leads to; one in a folder that was named is not.
func localTarget(to, base string) (tree.Target, error) {
	at := func(p string) (tree.Target, error) { return tree.Target{Path: p}, nil }
	info, err := os.Stat(to)
	switch {
	case err == nil && info.IsDir():
		return at(filepath.Join(to, base))
	case err == nil && base == ".":
		return tree.Target{}, api.Errorf(api.CodeConflict, "%s is not a folder: what is in one needs one", to)
	case err == nil && info.Mode().IsRegular() && descriptor(to) < 0:
		real, err := filepath.EvalSymlinks(to)
		if err != nil {
			return tree.Target{}, err
		}
		return at(real)
	case err == nil:
		return at(to)
	case !errors.Is(err, fs.ErrNotExist):
		return tree.Target{}, err
	case to != "" && os.IsPathSeparator(to[len(to)-1]) && base != ".":
		return tree.Target{}, api.Errorf(api.CodeNotFound,
			"there is no folder %s: make it, or leave the / at its end out to copy under that name", to)
	}
	if _, err := os.Lstat(to); err == nil {
		return tree.Target{}, api.Errorf(api.CodeConflict, "%s is a link to what is not there: remove it, or make what it leads to", to)
	}
	if _, err := os.Stat(filepath.Dir(filepath.Clean(to))); err != nil {
		return tree.Target{}, api.Errorf(api.CodeNotFound, "there is no folder %s: make it first", filepath.Dir(filepath.Clean(to)))
	}
	return at(to)
}

// openStream opens what was named if it is a device or a pipe; nil: it is neither. A pipe
// lets itself be opened only when it is read, which is waited for.
func openStream(ctx context.Context, to string) (io.Writer, error) {
	info, err := os.Stat(to)
	if fd := descriptor(to); fd >= 0 && err == nil && !info.IsDir() {
		return duplicate(fd, to)
	}
	switch {
	case err != nil || info.IsDir() || info.Mode().IsRegular(): // what else is wrong, making it says
		return nil, nil
	case info.Mode()&(fs.ModeDevice|fs.ModeNamedPipe) == 0:
		return nil, api.Errorf(api.CodeConflict, "%s is a socket, which a copy cannot be written to: name another file", to)
	}
	type opened struct {
		file *os.File
		err  error
	}
	is := make(chan opened, 1)
	go func() {
		f, err := os.OpenFile(to, os.O_WRONLY, 0)
		is <- opened{f, err}
	}()
	select {
	case o := <-is:
		if o.err != nil {
			return nil, o.err
		}
		return o.file, nil
	case <-ctx.Done():
		return nil, api.Errorf(api.CodeFailed, "stopped: nothing read %s", to)
	}
}

// sizeless says whether a path is below what the kernel writes when it is read: such files
// say that they are empty, and a tar has no more of a file than it says.
func sizeless(p string) bool {
	p = path.Clean(p) + "/"
	return strings.HasPrefix(p, "/proc/") || strings.HasPrefix(p, "/sys/")
}

func (p *copying) refuseEmpty(from string) func(string, int64) error {
	dir, _ := parted(from)
	return func(name string, size int64) error {
		if size > 0 {
			return nil
		}
		at := path.Join(dir, name)
		return api.Errorf(api.CodeFailed, "%s says that it is empty, as most files below /proc and /sys do, and would be copied so: "+
			"`mesita exec %s -- cat %s` reads it", at, p.task, at)
	}
}

const changedAsRead = ": file changed as we read it"

// saidByTar keeps the beginning of what is written to it, and whether all of it is GNU tar's
// warning about files that were written to meanwhile, of which it has what they were long.
type saidByTar struct {
	first   []byte
	line    []byte // the end of the one that is written
	changes int
	others  int
}

func (w *saidByTar) Write(b []byte) (int, error) {
	w.first = append(w.first, b[:min(len(b), 1000-len(w.first))]...)
	for line := range bytes.Lines(b) {
		w.line = append(w.line, line...)
		w.line = w.line[max(0, len(w.line)-len(changedAsRead)-1):]
		if !bytes.HasSuffix(w.line, []byte("\n")) {
			continue
		}
		if strings.HasSuffix(string(w.line), changedAsRead+"\n") {
			w.changes++
		} else {
			w.others++
		}
		w.line = nil
	}
	return len(b), nil
}

func (w *saidByTar) onlyChanges() bool { return w.changes > 0 && w.others == 0 && len(w.line) == 0 }

func (w *saidByTar) String() string {
	return strings.Join(strings.Split(strings.TrimSpace(string(w.first)), "\n"), "; ")
}
