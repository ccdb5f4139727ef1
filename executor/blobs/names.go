package blobs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/mesita/mesita/api"
)

// The kernel calls a process after the path that was executed, and so do a script's
// $0 and its shell's errors. So a program is executed by a link of its own name to
// its file: as/DIGEST/NAME, made at the first start of that name, and removed with
// the program.
const (
	namesDir = "as"
	maxNames = 64 // of one program; more are called by their digest
	nameMax  = 255
)

// Named is the path to execute the program by, so that it is called as the user
// calls it. That is Path if it has no such name, or the link cannot be made: no
// start fails for that.
func (c *Cache) Named(digest, command string) string {
	plain := c.Path(digest)
	name := filepath.Base(command)
	if !api.ValidDigest(digest) || command == "" || strings.HasSuffix(command, "/") || name == "." || name == ".." || len(name) > nameMax || strings.ContainsRune(name, 0) {
		return plain
	}
	if !c.Has(digest) {
		return plain
	}
	c.naming.Lock()
	defer c.naming.Unlock()
	target := filepath.Join("..", "..", filepath.Base(plain))
	path := filepath.Join(c.namesOf(digest), name)
	if to, err := os.Readlink(path); err == nil && to == target {
		return path
	}
	if c.link(target, path) != nil {
		return plain
	}
	return path
}

func (c *Cache) namesOf(digest string) string {
	return filepath.Join(c.dir, namesDir, filepath.Base(c.Path(digest)))
}

// link makes a link, in place of what is there under its name. Any user may run
// the program, and so follow it, whatever umask the daemon was started with.
func (c *Cache) link(target, path string) error {
	dir := filepath.Dir(path)
	for _, d := range []string{filepath.Dir(dir), dir} {
		err := os.Mkdir(d, 0o711)
		if err == nil {
			err = os.Chmod(d, 0o711)
		}
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) >= maxNames {
		return errors.Join(err, os.ErrExist)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(target, path)
}

// unname removes the names of a program that is not here any more.
func (c *Cache) unname(digest string) {
	_ = os.RemoveAll(c.namesOf(digest)) // what is left then is removed at the next start
}

// sweepNames removes those of programs that are not here, as after a crash.
func (c *Cache) sweepNames() {
	all, err := os.ReadDir(filepath.Join(c.dir, namesDir))
	if err != nil {
		return // none was made
	}
	for _, e := range all {
		if c.blobs["sha256:"+e.Name()] == nil {
			_ = os.RemoveAll(filepath.Join(c.dir, namesDir, e.Name())) // a link to nothing harms nobody
		}
	}
}
