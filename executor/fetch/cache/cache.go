// Package cache owns what a node keeps of the files that tasks had fetched: each under a
// key of who asked for it and where it was, looked at against its checksum whenever it is
// used, and bounded: the least recently used go first, and none while it is copied. It
// does not own what is fetched, nor whether what is kept is still what a server has; the
// executor calls it, with files in the folders of tasks, which it does not trust.
package cache

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/mesita/mesita/executor/fetch"
)

// Cache is a folder of files.
type Cache struct {
	dir   string
	limit int64
	room  func(bytes int64) error // refuses to put so many bytes on the disk

	mu    sync.Mutex // not held while the disk is waited for, but for a removal
	files map[string]*file
	size  int64  // of what is kept, and of what is on its way in
	turn  uint64 // counts uses
	names uint64 // counts files
}

type file struct {
	fetch.Origin
	path string
	used uint64
	pins int  // copies of it that are being made
	gone bool // it is removed with its last pin
}

// Open makes the cache in dir empty: what a daemon before this one kept there may not be
// whole, and nobody holds it any more.
func Open(dir string, limit int64, room func(bytes int64) error) (*Cache, error) {
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, fmt.Errorf("empty the cache of fetched files: %w", err)
	}
	return &Cache{dir: dir, limit: limit, room: room, files: map[string]*file{}}, nil
}

// Key names what a user had fetched from a URI for a framework in a partition: what one
// may have, which another's credentials may have been needed for, is not the other's, nor
// is what one says that it fetched, by a proxy or an authority of its own.
func Key(framework, partition, user, uri string) string {
	b, _ := json.Marshal([]string{framework, partition, user, uri}) // of strings it does not fail
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Has reports whether something is kept.
func (c *Cache) Has(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.files[key] != nil
}

// Copy puts what is kept into a folder, by that name and for that user, and says what it
// is. It is false, and leaves nothing, if it is not kept, or not what it was any more.
func (c *Cache) Copy(key string, to *os.Root, name string, uid, gid uint32) (fetch.Origin, bool) {
	f := c.pin(key)
	if f == nil {
		return fetch.Origin{}, false
	}
	defer c.unpin(f)
	if err := c.room(f.Size); err != nil {
		return fetch.Origin{}, false
	}
	in, err := os.Open(f.path)
	if err != nil {
		c.drop(key, f)
		return fetch.Origin{}, false
	}
	defer in.Close()
	out, err := to.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fetch.Origin{}, false
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, sum), in)
	if err = errors.Join(err, out.Chown(int(uid), int(gid)), out.Close()); err == nil && bytes.Equal(sum.Sum(nil), f.Sum) {
		return f.Origin, true
	}
	_ = to.Remove(name) // who fetches anew does not mind it
	if err == nil {
		c.drop(key, f)
	}
	return fetch.Origin{}, false
}

// Add keeps a copy of a file in a folder that is said to be that, for which others go that
// were not used for longer. It is not kept if it is another one, or if there is no room.
func (c *Cache) Add(key string, from *os.Root, name string, uid uint32, is fetch.Origin) error {
	in, err := from.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || !fi.Mode().IsRegular() || st.Nlink != 1 || st.Uid != uid || fi.Size() != is.Size {
		return errors.New("it is not the file that was fetched any more")
	}
	path, err := c.reserve(key, is.Size)
	if err != nil {
		return err
	}
	if err := c.fill(path, in, is); err != nil {
		_ = os.Remove(path) // there is a worse error
		c.mu.Lock()
		c.size -= is.Size
		c.mu.Unlock()
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.files[key]; old != nil {
		c.remove(key, old)
	}
	c.turn++
	c.files[key] = &file{Origin: is, path: path, used: c.turn}
	return nil
}

func (c *Cache) fill(path string, in io.Reader, is fetch.Origin) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(in, is.Size+1)) // it may grow
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if n != is.Size || !bytes.Equal(sum.Sum(nil), is.Sum) {
		return errors.New("it is not what was fetched any more")
	}
	return nil
}

// reserve makes room for a file, and says where it goes.
func (c *Cache) reserve(key string, size int64) (path string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.shrink(key, c.limit-size); err != nil {
		return "", err
	}
	if err := c.room(size); err != nil {
		return "", err
	}
	c.size += size
	c.names++
	return filepath.Join(c.dir, fmt.Sprintf("%d", c.names)), nil
}

// shrink removes what was not used for the longest, but what is in use, until no more than
// so many bytes are kept. What one comes in place of goes first. c.mu is held.
func (c *Cache) shrink(inPlaceOf string, most int64) error {
	idle, over := []string{}, c.size-most
	for key, f := range c.files {
		if f.pins == 0 {
			idle = append(idle, key)
		}
	}
	slices.SortFunc(idle, func(a, b string) int {
		if (a == inPlaceOf) != (b == inPlaceOf) {
			return map[bool]int{true: -1, false: 1}[a == inPlaceOf]
		}
		return cmp.Compare(c.files[a].used, c.files[b].used)
	})
	n := 0
	for ; n < len(idle) && over > 0; n++ {
		over -= c.files[idle[n]].Size
	}
	if over > 0 {
		return errors.New("the cache of fetched files has no room for it")
	}
	for _, key := range idle[:n] {
		c.remove(key, c.files[key])
	}
	return nil
}

// Clear removes what is not in use, for the disk to have room.
func (c *Cache) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, f := range c.files {
		if f.pins == 0 {
			c.remove(key, f)
		}
	}
}

func (c *Cache) pin(key string) *file {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[key]
	if f != nil {
		c.turn++
		f.used = c.turn
		f.pins++
	}
	return f
}

func (c *Cache) unpin(f *file) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.pins--; f.gone && f.pins == 0 {
		c.delete(f)
	}
}

// drop removes what is not as it was.
func (c *Cache) drop(key string, f *file) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files[key] == f {
		c.remove(key, f)
	}
}

// remove forgets a file, which goes once it is in no use. c.mu is held.
func (c *Cache) remove(key string, f *file) {
	delete(c.files, key)
	if f.gone = true; f.pins == 0 {
		c.delete(f)
	}
}

// delete is of a file that nobody uses or finds any more. c.mu is held.
func (c *Cache) delete(f *file) {
	_ = os.Remove(f.path) // the next start removes what is left
	c.size -= f.Size
}
