package blobs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// trusted is how long a program whose file did not change is used without
// another look at its content: many tasks of a job cost one.
const trusted = 10 * time.Minute

// DamagedError says that a program was not what it is called, and was removed.
type DamagedError struct{ File string }

func (e *DamagedError) Error() string {
	return "the program " + e.File + " was damaged on this node's disk, and was removed"
}

// stamp is a file as it was when it was looked at.
type stamp struct {
	inode      uint64
	size       int64
	mtim, ctim syscall.Timespec
}

func stampOf(fi os.FileInfo) stamp {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}
	}
	return stamp{st.Ino, st.Size, st.Mtim, st.Ctim}
}

// Check makes sure that the program is here and is what it is called, before it
// is used. It reads all of it unless it did so lately. One that is damaged is
// removed, so that it can be put again, and a *DamagedError names the file.
func (c *Cache) Check(digest string) error {
	c.mu.Lock()
	b := c.here(digest)
	c.mu.Unlock()
	if b == nil {
		return notHere(digest)
	}
	b.check.Lock()
	defer b.check.Unlock()
	path := c.Path(digest)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		c.drop(digest)
		return notHere(digest)
	}
	if err != nil {
		return fmt.Errorf("look at the program: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at the program: %w", err)
	}
	as := stampOf(fi)
	if b.as == as && !b.checked.IsZero() && time.Since(b.checked) < trusted {
		return nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return fmt.Errorf("look at the program %s: %w", path, err)
	}
	if "sha256:"+hex.EncodeToString(sum.Sum(nil)) == digest {
		b.checked, b.as = time.Now(), as
		return nil
	}
	return c.discard(digest, as)
}

// discard removes a damaged program, unless it was put anew meanwhile.
func (c *Cache) discard(digest string, as stamp) error {
	c.files.Lock()
	defer c.files.Unlock()
	path := c.Path(digest)
	if fi, err := os.Stat(path); err == nil && stampOf(fi).inode != as.inode {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the damaged program: %w", err)
	}
	c.gone(digest)
	return &DamagedError{path}
}

// drop takes note that a program's file is gone, unless it was put anew meanwhile.
func (c *Cache) drop(digest string) {
	c.files.Lock()
	defer c.files.Unlock()
	if _, err := os.Stat(c.Path(digest)); err != nil {
		c.gone(digest)
	}
}

// gone forgets a program whose file is gone. c.files is held.
func (c *Cache) gone(digest string) {
	c.mu.Lock()
	c.forget(digest)
	c.mu.Unlock()
	c.unname(digest)
}
