// Package blobs owns a node's cache of uploaded programs: files named by the
// SHA-256 of their content, checked as they are written and again when they are
// used, executable by every user, and bounded: the least recently used go first, and never what others count
// on to be here. It does not own where a program comes from, nor how long the cluster keeps it; the executor calls it.
package blobs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
)

// Cache is a folder of programs.
type Cache struct {
	dir    string
	limit  int64
	needed Needed

	naming sync.Mutex // one link to a program is made at a time
	files  sync.Mutex // one file is put or removed at a time; taken before mu

	mu    sync.Mutex       // never held while a disk may be waited for: the executor asks what is here
	blobs map[string]*blob // by digest
	size  int64
}

type blob struct {
	size int64
	used time.Time
	pins int  // tasks that run it
	gone bool // its file is not there any more; kept for the pins

	check   sync.Mutex // held while its content is looked at
	checked time.Time  // when it was what it should be
	as      stamp      // of its file then
}

const temp = "incoming-"

// Needed says which of some programs have to stay here: a job may yet run them, and it is
// this node that others ask for them. It may wait for another node; what it does not know
// stays.
type Needed func(digests []string) (map[string]bool, error)

// Open reads the cache in dir, which it makes if needed, of at most limit bytes. Without
// needed nothing has to stay but what runs.
func Open(dir string, limit int64, needed Needed) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("make the program cache: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the program cache: %w", err)
	}
	if needed == nil {
		needed = func([]string) (map[string]bool, error) { return nil, nil }
	}
	c := &Cache{dir: dir, limit: limit, needed: needed, blobs: map[string]*blob{}}
	for _, e := range names {
		if strings.HasPrefix(e.Name(), temp) {
			_ = os.Remove(filepath.Join(dir, e.Name())) // left by a crash; tried again at the next start
			continue
		}
		digest := "sha256:" + e.Name()
		if fi, err := e.Info(); err == nil && api.ValidDigest(digest) {
			c.blobs[digest] = &blob{size: fi.Size(), used: fi.ModTime()}
			c.size += fi.Size()
		}
	}
	c.sweepNames()
	return c, nil
}

// Path is where the program with that digest is or would be.
func (c *Cache) Path(digest string) string {
	return filepath.Join(c.dir, strings.TrimPrefix(digest, "sha256:"))
}

// Has reports whether the program is here.
func (c *Cache) Has(digest string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.here(digest) != nil
}

// here is the entry of a program that is here. c.mu is held.
func (c *Cache) here(digest string) *blob {
	if b := c.blobs[digest]; b != nil && !b.gone {
		return b
	}
	return nil
}

// Pin keeps the program from being evicted until Unpin. It is false if the
// program is not here.
func (c *Cache) Pin(digest string) bool {
	c.mu.Lock()
	b := c.here(digest)
	if b != nil {
		b.pins++
		b.used = time.Now()
	}
	c.mu.Unlock()
	if b == nil {
		return false
	}
	if _, err := os.Stat(c.Path(digest)); err != nil { // removed behind our back
		c.Unpin(digest)
		c.mu.Lock()
		c.forget(digest)
		c.mu.Unlock()
		return false
	}
	return true
}

// Unpin takes back one Pin.
func (c *Cache) Unpin(digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.blobs[digest]; b != nil && b.pins > 0 {
		b.pins--
		b.used = time.Now()
		if b.gone && b.pins == 0 {
			delete(c.blobs, digest)
		}
	}
}

// OpenBlob opens the program for reading and tells its size in bytes. One that
// is damaged is not here any more.
func (c *Cache) OpenBlob(digest string) (io.ReadCloser, int64, error) {
	if err := c.Check(digest); errors.As(err, new(*DamagedError)) {
		return nil, 0, api.Errorf(api.CodeNotFound, "%v", err)
	} else if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(c.Path(digest))
	if errors.Is(err, os.ErrNotExist) {
		c.drop(digest)
		return nil, 0, notHere(digest)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open program: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, fi.Size(), nil
}

func notHere(digest string) error {
	return api.Errorf(api.CodeNotFound, "program %s is not on this node", digest)
}

// writer receives a program that is on its way in.
type writer struct {
	file *os.File
	sum  interface {
		io.Writer
		Sum([]byte) []byte
	}
	size int64
}

// Write adds to the program; it refuses one that is larger than api.MaxBlob.
func (w *writer) Write(p []byte) (int, error) {
	if w.size+int64(len(p)) > api.MaxBlob {
		return 0, api.Errorf(api.CodeTooLarge, "the program has more than %s, the most that may be uploaded", api.Bytes(api.MaxBlob))
	}
	n, err := w.file.Write(p)
	w.sum.Write(p[:n])
	w.size += int64(n)
	return n, err
}

// Put stores what fill writes, if its digest is the one given and there is room beside
// what has to stay; otherwise the cache stays as it was. Nothing is written if the size that
// it is said to have, or a negative one, tells already that there is none.
func (c *Cache) Put(digest string, size int64, fill func(io.Writer) error) error {
	if _, over := c.spare(digest, max(size, 0)); over > 0 {
		return c.noRoom(over)
	}
	return c.put(digest, fill, true)
}

func (c *Cache) noRoom(over int64) error {
	return api.Errorf(api.CodeUnavailable, "the %s for programs on this node are %s too few, and what is here is run or may be yet: upload to another node, remove jobs that nobody needs, or have an admin raise `program-cache` here",
		api.Bytes(c.limit), api.Bytes(over))
}

// Fetch stores a copy of what another node has, for a task that is to run here. What has
// to stay may then be more than the limit.
func (c *Cache) Fetch(digest string, fill func(io.Writer) error) error {
	return c.put(digest, fill, false)
}

func (c *Cache) put(digest string, fill func(io.Writer) error, bounded bool) (err error) {
	if !api.ValidDigest(digest) {
		return api.FieldErrorf("program", "%q is not a digest: sha256: and 64 hex digits", digest)
	}
	f, err := os.CreateTemp(c.dir, temp)
	if err != nil {
		return fmt.Errorf("store program: %w", err)
	}
	defer func() {
		f.Close() // closed before when all went well
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	w := &writer{file: f, sum: sha256.New()}
	if err := fill(w); err != nil {
		return fmt.Errorf("store program %s: %w", digest, err)
	}
	if got := "sha256:" + hex.EncodeToString(w.sum.Sum(nil)); got != digest {
		return api.FieldErrorf("program", "the content has the digest %s and not %s: it was damaged or changed on its way; send it again", got, digest)
	}
	if err := errors.Join(f.Chmod(0o555), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("store program: %w", err)
	}
	spare, err := c.room(digest, w.size, bounded)
	if err != nil {
		return err
	}
	defer c.files.Unlock()
	if err := os.Rename(f.Name(), c.Path(digest)); err != nil {
		return fmt.Errorf("store program: %w", err)
	}
	if err := syncDir(c.dir); err != nil {
		return err
	}
	for d, b := range c.add(digest, w.size, spare) {
		if err := os.Remove(c.Path(d)); err != nil && !errors.Is(err, os.ErrNotExist) {
			c.keep(d, b)
			continue
		}
		c.unname(d)
	}
	return nil
}

// room chooses what goes for a program that comes, and leaves c.files locked unless it
// fails. Who is asked what has to stay may take long, and another program may come
// meanwhile, for which the same goes: then it is chosen anew.
func (c *Cache) room(digest string, size int64, bounded bool) (spare []string, err error) {
	for {
		spare, over := c.spare(digest, size)
		if over > 0 && bounded {
			return nil, c.noRoom(over)
		}
		c.files.Lock()
		if !bounded || c.enough(digest, size, spare) {
			return spare, nil
		}
		c.files.Unlock()
	}
}

// enough reports whether there is room for a program once these have gone.
func (c *Cache) enough(digest string, size int64, spare []string) bool {
	_, sizes, over := c.idle(digest, size)
	for _, d := range spare {
		over -= sizes[d]
	}
	return over <= 0
}

// askedAtOnce is of how many programs it is asked at a time whether they have to stay.
const askedAtOnce = 256

// spare are those that may go for one that comes, the longest unused first, and by how
// much the limit is missed all the same.
func (c *Cache) spare(digest string, size int64) (out []string, over int64) {
	all, sizes, over := c.idle(digest, size)
	for some := range slices.Chunk(all, askedAtOnce) {
		if over <= 0 {
			break
		}
		stay, err := c.needed(some)
		if err != nil {
			break // whoever knows is asked again for the next one
		}
		for _, d := range some {
			if over > 0 && !stay[d] {
				out = append(out, d)
				over -= sizes[d]
			}
		}
	}
	return out, over
}

// idle are those that no task runs, the longest unused first, if the limit is missed with
// one that comes, and by how much it is.
func (c *Cache) idle(digest string, size int64) (all []string, sizes map[string]int64, over int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	over = c.size + size - c.limit
	if c.here(digest) != nil {
		over -= size
	}
	if over <= 0 {
		return nil, nil, over
	}
	sizes = map[string]int64{}
	for d, b := range c.blobs {
		if b.pins == 0 && !b.gone && d != digest {
			all, sizes[d] = append(all, d), b.size
		}
	}
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Or(c.blobs[a].used.Compare(c.blobs[b].used), strings.Compare(a, b))
	})
	return all, sizes, over
}

// add takes note of a program that is here now, and returns those that are to be
// removed for it and are not here any more.
func (c *Cache) add(digest string, size int64, spare []string) map[string]*blob {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.blobs[digest]
	if b == nil || b.gone {
		c.size += size
	}
	if b == nil {
		b = &blob{}
		c.blobs[digest] = b
	}
	b.size, b.used, b.gone = size, time.Now(), false // the next use looks at what is on disk
	out := map[string]*blob{}
	for _, d := range spare {
		if b := c.here(d); b != nil && b.pins == 0 && c.size > c.limit {
			out[d] = b
			c.size -= b.size
			delete(c.blobs, d)
		}
	}
	return out
}

// keep takes note again of a program that could not be removed. c.files is held.
func (c *Cache) keep(digest string, b *blob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blobs[digest] = b
	c.size += b.size
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("store program: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// forget drops the entry of a file that is gone. c.mu is held.
func (c *Cache) forget(digest string) {
	b := c.here(digest)
	if b == nil {
		return
	}
	c.size -= b.size
	if b.gone = true; b.pins == 0 {
		delete(c.blobs, digest)
	}
}
