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
	h.Mode &= 0o777 // root's tar would give setuid bits
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
