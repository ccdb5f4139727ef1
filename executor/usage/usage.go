// Package usage finds out which task fills a disk that runs short: what folders have
// on it, what processes have open that is in no folder any more, and whose grew.
//
// It ends nothing, and knows neither tasks nor when to look. Its caller is executor.
package usage

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Size is what something has on disk, in bytes as the file system counts them, and how
// much of that is Fresh: in files that changed since some time. It is not Whole where
// there was more than can be looked at.
type Size struct {
	Bytes, Fresh int64
	Whole        bool
}

// add takes in a file, or a folder without what is in it.
func (z *Size) add(blocks, changed, since int64) {
	z.Bytes += blocks * blockSize
	if changed >= since {
		z.Fresh += blocks * blockSize
	}
}

// The bounds of one look at what a task has. Whoever goes beyond them is not Whole.
const (
	maxNames = 2_000_000
	maxDepth = 200 // each has a file open
	maxLinks = 1 << 16
)

const (
	namesAtOnce = 1024
	blockSize   = 512 // of stat(2), whatever the file system has
)

// Of sums up what is in folders, on the file system that each of them is on: no
// symbolic link is followed, nothing mounted is entered, and a file of several names
// counts once. A folder that is not there has nothing. The error is ctx's.
func Of(ctx context.Context, since time.Time, dirs ...string) (Size, error) {
	w := walk{ctx: ctx, since: since.Unix(), links: map[uint64]bool{}, size: Size{Whole: true}}
	for _, path := range dirs {
		dir, err := openFolder(unix.AT_FDCWD, path)
		if err != nil {
			continue // it is gone, or no folder any more
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(dir.Fd()), &st); err == nil {
			w.dev = uint64(st.Dev) //nolint:unconvert // narrower on some processors
			w.size.add(st.Blocks, int64(st.Ctim.Sec), w.since)
			w.folder(dir, 0)
		}
		dir.Close()
	}
	return w.size, ctx.Err()
}

// walk is one look.
type walk struct {
	ctx   context.Context //nolint:containedctx // of the one call
	dev   uint64
	since int64 // seconds
	names int
	links map[uint64]bool // files of several names that were counted
	size  Size
}

func (w *walk) folder(dir *os.File, depth int) {
	for w.ctx.Err() == nil {
		names, err := dir.Readdirnames(namesAtOnce)
		if err != nil {
			w.size.Whole = w.size.Whole && errors.Is(err, io.EOF)
			return
		}
		for _, name := range names {
			if w.names++; w.names > maxNames {
				w.size.Whole = false
				return
			}
			w.entry(dir, name, depth)
		}
	}
}

func (w *walk) entry(dir *os.File, name string, depth int) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT); err != nil || uint64(st.Dev) != w.dev {
		return
	}
	isFolder := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if !isFolder && st.Nlink > 1 {
		if w.links[st.Ino] {
			return
		}
		if len(w.links) < maxLinks {
			w.links[st.Ino] = true
		}
	}
	w.size.add(st.Blocks, int64(st.Ctim.Sec), w.since)
	if !isFolder {
		return
	}
	if depth == maxDepth {
		w.size.Whole = false
		return
	}
	inner, err := openFolder(int(dir.Fd()), name)
	if err != nil {
		return // it is gone, or something else by now
	}
	defer inner.Close()
	w.folder(inner, depth+1)
}

func openFolder(at int, path string) (*os.File, error) {
	for {
		fd, err := unix.Openat(at, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NOATIME|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EPERM) { // it is another's, and we are not root
			fd, err = unix.Openat(at, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}
