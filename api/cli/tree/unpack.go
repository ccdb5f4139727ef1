package tree

import (
	"archive/tar"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Target is what a copy becomes.
type Target struct {
	Path string
	// Stream, if there is one, gets the bytes of a file alone: Path is then a device or a
	// pipe, which stays what it is.
	Stream io.Writer
	// Refuse, if there is one, says why a file is not to be copied.
	Refuse func(name string, size int64) error
}

// Unpack makes what a tar has as base, and below it, be the target: a file if it is one there,
// else a folder, which may be there already. With base "." it is what is in the tar, in a folder.
// A file that is there already is replaced when the new one is whole, and a file alone when
// all of the tar is. A folder that is there already keeps its mode and is not given a time.
func Unpack(r io.Reader, base string, dst Target) (*Copied, error) {
	u := &unpacking{tar: tar.NewReader(r), base: base, dst: dst, made: map[string]bool{}}
	err := u.all()
	if err == nil || errors.Is(err, errNothing) { // what fills its last block, or why it is all
		if _, failed := io.Copy(io.Discard, r); failed != nil {
			err = failed
		}
	}
	if u.pending != "" {
		err = u.settle(u.pending, u.single, err)
	}
	if u.root != nil {
		u.root.Close()
	}
	return &u.done, err
}

var errNothing = errors.New("nothing came")

type unpacking struct {
	tar     *tar.Reader
	base    string
	dst     Target
	root    *os.Root // the folder that is made; of a file the one that it is in
	single  string   // the file's name there, "" of a folder
	pending string   // the whole file until all of the tar came
	made    map[string]bool
	folders []*tar.Header
	seen    int
	done    Copied
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
	alone := name == "." && h.Typeflag != tar.TypeDir
	switch {
	case u.single != "":
		return fmt.Errorf("%q came after a file that was asked for alone", h.Name)
	case u.root != nil:
		return nil
	case u.dst.Stream != nil && (!alone || h.Typeflag != tar.TypeReg):
		return fmt.Errorf("%s is not a folder here and takes a file's bytes only, and %q is not a file there", u.dst.Path, h.Name)
	case alone:
		u.single = filepath.Base(u.dst.Path)
		u.root, err = os.OpenRoot(filepath.Dir(u.dst.Path))
		return err
	}
	if err := os.Mkdir(u.dst.Path, 0o700); err == nil {
		u.made["."] = true
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	u.root, err = os.OpenRoot(u.dst.Path)
	return err
}

func (u *unpacking) entry(h *tar.Header, name string) error {
	if u.single != "" {
		name = u.single
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.folder(name, 0o700); err != nil {
			return err
		}
		if h.Name = name; u.made[name] {
			u.folders = append(u.folders, h)
		}
		return nil
	case tar.TypeReg:
		if u.dst.Refuse != nil {
			if err := u.dst.Refuse(h.Name, h.Size); err != nil {
				return err
			}
		}
	case tar.TypeSymlink, tar.TypeLink:
	default:
		u.done.leave(h.Name)
		return nil
	}
	u.done.Files++
	if u.dst.Stream != nil {
		return u.bytes(u.dst.Stream, u.dst.Path)
	}
	if err := u.makeRoom(name); err != nil {
		return err
	}
	fresh := path.Join(path.Dir(name), ".mesita-cp-"+rand.Text())
	if err := u.make(h, fresh); err != nil {
		return u.settle(fresh, name, err)
	}
	if u.single != "" {
		u.pending = fresh
		return nil
	}
	return u.settle(fresh, name, nil)
}

// settle gives what was made its name, or removes it if there was an error.
func (u *unpacking) settle(fresh, name string, err error) error {
	if err == nil {
		err = u.root.Rename(fresh, name)
	}
	// Also after a rename: of two names of one file it does nothing and says that it went well.
	if failed := u.root.Remove(fresh); err == nil && failed != nil && !errors.Is(failed, fs.ErrNotExist) {
		err = failed
	}
	return err
}

// folder sees that there is a folder, and remembers those that it made.
func (u *unpacking) folder(name string, mode fs.FileMode) error {
	if name == "." {
		return nil
	}
	err := u.root.Mkdir(name, mode)
	if errors.Is(err, fs.ErrNotExist) {
		if err = u.folder(path.Dir(name), 0o755); err == nil {
			err = u.root.Mkdir(name, mode)
		}
	}
	switch {
	case err == nil:
		u.made[name] = true
		return nil
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	info, err := u.root.Stat(name)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is a folder there, and not one here", name)
	}
	return err
}

// makeRoom sees that there is a folder for a file or link, and that what is in its place
// may be replaced: files and links are, folders, devices, pipes and sockets are not.
func (u *unpacking) makeRoom(name string) error {
	if err := u.folder(path.Dir(name), 0o755); err != nil {
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
	case !info.Mode().IsRegular() && info.Mode().Type() != fs.ModeSymlink:
		return fmt.Errorf("%s is a device, a pipe or a socket here, which a copy does not replace: remove it first", name)
	}
	return nil
}

func (u *unpacking) make(h *tar.Header, at string) error {
	switch h.Typeflag {
	case tar.TypeSymlink:
		return u.root.Symlink(h.Linkname, at)
	case tar.TypeLink:
		old, err := u.name(h.Linkname)
		if err != nil {
			return err
		}
		return u.root.Link(old, at)
	}
	return u.file(h, at)
}

func (u *unpacking) file(h *tar.Header, at string) (err error) {
	f, err := u.root.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if failed := f.Close(); err == nil {
			err = failed
		}
		if err == nil {
			err = u.root.Chtimes(at, h.ModTime, h.ModTime)
		}
	}()
	if err := u.bytes(f, h.Name); err != nil {
		return err
	}
	return f.Chmod(h.FileInfo().Mode().Perm())
}

func (u *unpacking) bytes(w io.Writer, name string) error {
	n, err := io.Copy(w, u.tar)
	if u.done.Bytes += n; err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// finish gives the folders that were made their modes and times, which what came into them
// changed, and which might have let nothing come in.
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
