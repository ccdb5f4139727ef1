// Package tree writes files and folders as a tar, and makes them of one, of which
// nothing is believed: no name and no link in it leads out of the place that it is
// unpacked to, and what may give rights (setuid, devices, owners) is left out.
//
// It owns no connection and no choice of names. The command line uses it to copy
// between this machine and a task.
package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// maxEntries bounds one copy.
const maxEntries = 1_000_000

// Copied is what was copied.
type Copied struct {
	Files int // and links
	Bytes int64
	// Left is the first of what is neither a file, a folder nor a link, and so was not.
	Left  string
	Lefts int
}

func (c *Copied) leave(name string) {
	if c.Lefts++; c.Left == "" {
		c.Left = name
	}
}

// Pack writes a file, or a folder with all that is in it, as a tar in which it has that
// name; ".": only what is in it. A link is written as one.
func Pack(w io.Writer, src, name string) (*Copied, error) {
	t, done, seen := tar.NewWriter(w), &Copied{}, 0
	err := filepath.WalkDir(src, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, at)
		if err != nil {
			return err
		}
		if seen++; seen > maxEntries {
			return tooMany()
		}
		return pack(t, at, path.Join(name, filepath.ToSlash(rel)), done)
	})
	if err == nil {
		err = t.Close()
	}
	return done, err
}

func tooMany() error {
	return fmt.Errorf("more than %d files: copy a folder in it at a time", maxEntries)
}

func pack(t *tar.Writer, at, name string, done *Copied) error {
	info, err := os.Lstat(at)
	if err != nil {
		return err
	}
	link := ""
	switch info.Mode().Type() {
	case 0, fs.ModeDir:
	case fs.ModeSymlink:
		if link, err = os.Readlink(at); err != nil {
			return err
		}
	default:
		done.leave(at)
		return nil
	}
	var f *os.File
	if info.Mode().IsRegular() {
		if f, err = os.Open(at); err != nil {
			return err
		}
		defer f.Close()
		if info, err = f.Stat(); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Format = name, tar.FormatPAX // which has times to the nanosecond
	h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
	if info.IsDir() {
		h.Name += "/"
	} else {
		done.Files++
	}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	if f == nil {
		return nil
	}
	n, err := io.CopyN(t, f, h.Size) // what is written to it meanwhile is not
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s has become shorter while it was copied", at)
	}
	done.Bytes += n
	return err
}

// Unpack makes what a tar has as base, and below it, be dst: a file if it is one there, else
// a folder, which may be there already. With base "." it is what is in the tar, in a folder.
func Unpack(r io.Reader, base, dst string) (*Copied, error) {
	u := &unpacking{tar: tar.NewReader(r), base: base, dst: dst}
	err := u.all()
	if u.root != nil {
		u.root.Close()
	}
	if err == nil || errors.Is(err, errNothing) { // what fills its last block, or why it is all
		if _, failed := io.Copy(io.Discard, r); failed != nil {
			err = failed
		}
	}
	return &u.done, err
}

var errNothing = errors.New("nothing came")

type unpacking struct {
	tar       *tar.Reader
	base, dst string
	root      *os.Root // the folder that is made; of a file the one that it is in
	single    string   // the file's name there, "" of a folder
	folders   []*tar.Header
	seen      int
	done      Copied
}

func (u *unpacking) all() error {
	for {
		h, err := u.tar.Next()
		switch {
		case errors.Is(err, io.EOF) && u.seen == 0:
			return errNothing
		case errors.Is(err, io.EOF):
			return u.finish()
		case err != nil:
			return fmt.Errorf("read what came: %w", err)
		case h.Typeflag == tar.TypeXGlobalHeader:
			continue
		}
		if u.seen++; u.seen > maxEntries {
			return tooMany()
		}
		name, err := u.name(h.Name)
		if err == nil {
			err = u.begin(h, name)
		}
		if err == nil {
			err = u.entry(h, name)
		}
		if err != nil {
			return err
		}
	}
}

// name is that of an entry below what is made.
func (u *unpacking) name(s string) (string, error) {
	clean := path.Clean(s)
	switch {
	case u.base == ".":
	case clean == u.base:
		return ".", nil
	default:
		rest, ok := strings.CutPrefix(clean, u.base+"/")
		if !ok {
			return "", fmt.Errorf("%q came, which is not below %q: nobody asked for it", s, u.base)
		}
		clean = rest
	}
	if !filepath.IsLocal(clean) {
		return "", fmt.Errorf("%q came, which leads out of the folder", s)
	}
	return clean, nil
}

// begin opens the folder that everything is made in, by the first entry.
func (u *unpacking) begin(h *tar.Header, name string) (err error) {
	switch {
	case u.single != "":
		return fmt.Errorf("%q came after a file that was asked for alone", h.Name)
	case u.root != nil:
		return nil
	case name == "." && h.Typeflag != tar.TypeDir:
		u.single = filepath.Base(u.dst)
		u.root, err = os.OpenRoot(filepath.Dir(u.dst))
		return err
	}
	if err := os.Mkdir(u.dst, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	u.root, err = os.OpenRoot(u.dst)
	return err
}

func (u *unpacking) entry(h *tar.Header, name string) error {
	if u.single != "" {
		name = u.single
	}
	if h.Typeflag == tar.TypeDir {
		if err := u.root.MkdirAll(name, 0o700); err != nil {
			return err
		}
		h.Name = name
		u.folders = append(u.folders, h)
		return nil
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeSymlink, tar.TypeLink:
	default:
		u.done.leave(h.Name)
		return nil
	}
	if err := u.makeRoom(name); err != nil {
		return err
	}
	u.done.Files++
	switch h.Typeflag {
	case tar.TypeSymlink:
		return u.root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		old, err := u.name(h.Linkname)
		if err != nil {
			return err
		}
		return u.root.Link(old, name)
	}
	return u.file(h, name)
}

// makeRoom removes what is in the place of a file or link, but for a folder, and sees
// that there is a folder for it.
func (u *unpacking) makeRoom(name string) error {
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	info, err := u.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a folder here, and not one there", name)
	}
	return u.root.Remove(name)
}

func (u *unpacking) file(h *tar.Header, name string) (err error) {
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if failed := f.Close(); err == nil {
			err = failed
		}
		if err == nil {
			err = u.root.Chtimes(name, h.ModTime, h.ModTime)
		}
	}()
	n, err := io.Copy(f, u.tar)
	if u.done.Bytes += n; err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return f.Chmod(h.FileInfo().Mode().Perm())
}

// finish gives folders their modes and times, which what came into them changed, and
// which might have let nothing come in.
func (u *unpacking) finish() error {
	for i := len(u.folders) - 1; i >= 0; i-- {
		h := u.folders[i]
		if err := u.root.Chmod(h.Name, h.FileInfo().Mode().Perm()); err != nil {
			return err
		}
		if err := u.root.Chtimes(h.Name, h.ModTime, h.ModTime); err != nil {
			return err
		}
	}
	return nil
}
