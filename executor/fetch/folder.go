package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
)

// folder is the task's. No link leads out of it for what is written here.
type folder struct {
	root    *os.Root
	disk    string // a path on the disk that it is on
	left    int64  // bytes that may be written
	reserve int64  // bytes of the disk that stay free
	since   int64  // bytes written since the disk was looked at
	entries int    // of archives

	incoming string // what a file is called until all of it is there
}

const (
	maxEntries = 1_000_000
	maxDepth   = 100      // folders in each other
	nodeSize   = 4096     // bytes that a folder or a link takes
	lookEvery  = 16 << 20 // bytes
)

var (
	errDisk    = errors.New("the node's disk has no more room for it")
	errTooMuch = errors.New("it is larger than what may be fetched here")
)

// discard removes what a process before this one left that was not done, but what the node
// put there for this one.
func (d *folder) discard(but map[string]bool) error {
	left, err := os.ReadDir(d.disk)
	if err != nil {
		return err
	}
	for _, f := range left {
		if strings.HasPrefix(f.Name(), incoming) && !f.IsDir() && !but[f.Name()] {
			if err := d.root.Remove(f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// take counts bytes that are about to be written.
func (d *folder) take(n int) error {
	if d.left -= int64(n); d.left < 0 {
		return errTooMuch
	}
	if d.since += int64(n); d.since >= lookEvery {
		d.since = 0
		var st unix.Statfs_t
		if err := unix.Statfs(d.disk, &st); err == nil && int64(st.Bavail)*int64(st.Bsize) < d.reserve {
			return errDisk
		}
	}
	return nil
}

// entry counts what an archive has.
func (d *folder) entry() error {
	if d.entries++; d.entries > maxEntries {
		return fmt.Errorf("it has more than %d entries", maxEntries)
	}
	return nil
}

// metered is a file as it is written.
type metered struct {
	d *folder
	w io.Writer
}

func (m metered) Write(p []byte) (int, error) {
	if err := m.d.take(len(p)); err != nil {
		return 0, err
	}
	return m.w.Write(p)
}

// write makes a file of what is read.
func (d *folder) write(name string, from io.Reader, mode os.FileMode) error {
	f, err := d.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(metered{d, f}, plain{from}, make([]byte, 128<<10))
	if err = errors.Join(err, f.Chmod(mode), f.Close()); errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = errDisk
	}
	return err
}

// adopt has a file that the node put there be the one that came.
func (d *folder) adopt(name string, size int64, mode os.FileMode) error {
	if d.left -= size; d.left < 0 {
		return errTooMuch
	}
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return d.root.Rename(name, d.incoming)
}

// plain has nothing but Read, so that a copy uses the buffer that it is given.
type plain struct{ io.Reader }

// place has a file be called so, in place of what is there.
func (d *folder) place(from, name string) error {
	if fi, err := d.root.Lstat(name); err == nil && fi.IsDir() {
		return fmt.Errorf("%s is a folder already", name)
	}
	return d.root.Rename(from, name)
}

// clear removes what is there, unless it is a folder.
func (d *folder) clear(name string) error {
	fi, err := d.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.IsDir():
		return fmt.Errorf("%s is a folder already", name)
	}
	return d.root.Remove(name)
}

// makeParents makes the folders in which something is to be.
func (d *folder) makeParents(dir string) error {
	if dir == "." {
		return nil
	}
	if fi, err := d.root.Stat(dir); err == nil && fi.IsDir() {
		return nil
	}
	if err := d.makeParents(path.Dir(dir)); err != nil {
		return err
	}
	return d.makeDir(dir, 0o755)
}

func (d *folder) makeDir(dir string, mode os.FileMode) error {
	err := d.root.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrExist) {
		if fi, serr := d.root.Stat(dir); serr == nil && fi.IsDir() {
			return nil
		}
		return fmt.Errorf("%s is not a folder within the task's, and something is to be in it", dir)
	}
	if err != nil {
		return err
	}
	if err := d.entry(); err != nil {
		return err
	}
	return d.take(nodeSize)
}

// extracted is what an archive has, in the words that all kinds of them have.
type extracted struct {
	name string
	mode os.FileMode // with its type
	time time.Time
	link string // of a symbolic link, or the name of another entry that is the same file
	hard bool
}

// inside is the name of an entry in the folder.
func inside(name string) (string, error) {
	clean := path.Clean(name)
	switch {
	case name == "" || path.IsAbs(name) || clean == ".." || len(clean) > 2 && clean[:3] == "../":
		return "", fmt.Errorf("its entry %.100q is not within the folder that it is unpacked into", name)
	case strings.Count(clean, "/") >= maxDepth:
		return "", fmt.Errorf("its entry %.100q… is more than %d folders deep", name, maxDepth)
	case len(name) > 4095:
		return "", fmt.Errorf("its entry %.100q… has a name of %d bytes", name, len(name))
	}
	return clean, nil
}

// put makes of an entry what it says.
func (d *folder) put(e extracted, content io.Reader) error {
	if err := d.entry(); err != nil {
		return err
	}
	name, err := inside(e.name)
	if err != nil || name == "." {
		return err
	}
	if err := d.makeParents(path.Dir(name)); err != nil {
		return err
	}
	mode := e.mode.Perm()
	if e.mode.IsDir() {
		return d.makeDir(name, mode|0o700)
	}
	if err := d.clear(name); err != nil {
		return err
	}
	if e.hard || e.mode.Type() == os.ModeSymlink {
		if err := d.take(nodeSize); err != nil {
			return err
		}
	}
	switch {
	case e.hard:
		to, err := inside(e.link)
		if err != nil {
			return err
		}
		if fi, err := d.root.Lstat(to); err != nil || !fi.Mode().IsRegular() {
			return fmt.Errorf("its entry %.100q is a link to %.100q, which is not a file of it", e.name, e.link)
		}
		return d.root.Link(to, name)
	case e.mode.Type() == os.ModeSymlink:
		return d.root.Symlink(e.link, name)
	case !e.mode.IsRegular():
		return fmt.Errorf("its entry %.100q is neither a file, nor a folder, nor a link", e.name)
	}
	if err := d.write(name, content, mode|0o600); err != nil {
		return err
	}
	if e.time.IsZero() {
		return nil
	}
	return d.root.Chtimes(name, e.time, e.time)
}

// unpack unpacks an archive that is in the folder into the folder.
func (d *folder) unpack(ctx context.Context, name string) error {
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := d.unpackAs(api.Archive(name), name, until{ctx, f}); err != nil {
		return fmt.Errorf("unpack it: %w", err)
	}
	return nil
}

// until is a file that is read until a context ends.
type until struct {
	ctx context.Context //nolint:containedctx // of all that is done
	*os.File
}

func (u until) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.File.Read(p)
}

// ReadAt is how archives are read that have their contents at their end.
func (u until) ReadAt(p []byte, at int64) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.File.ReadAt(p, at)
}
