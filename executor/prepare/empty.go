package prepare

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// namesAtOnce are read of a folder before they are removed.
const namesAtOnce = 1024

// maxTold bounds the errors that are told of a folder.
const maxTold = 4

// removeFolder removes a folder with all in it. A symbolic link is none. Most are
// empty: such a one is not read.
func removeFolder(ctx context.Context, path string) error {
	if rmdir(path) == nil {
		return nil
	}
	dir, err := openFolder(unix.AT_FDCWD, path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := empty(ctx, dir); err != nil {
		return err
	}
	return os.Remove(path)
}

// rmdir removes an empty folder, which is held meanwhile: what it had on disk is freed
// when nobody has it any more, and else while the kernel has all others wait who make
// or remove one beside it.
func rmdir(path string) error {
	if fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
		defer unix.Close(fd)
	}
	return unix.Rmdir(path)
}

// empty removes all that is in a folder. It has two files open, however deep folders
// are in each other, which is for a task to choose: those in a folder that is in it
// are moved up to it first, so that each is moved once.
func empty(ctx context.Context, top *os.File) error {
	moved := 0
	return eachName(ctx, top, func(name string) error {
		full, err := remove(top, name)
		if err != nil || !full {
			return err
		}
		inner, err := openFolder(int(top.Fd()), name)
		if err != nil {
			return err
		}
		defer inner.Close()
		err = eachName(ctx, inner, func(name string) error {
			full, err := remove(inner, name)
			if full {
				err = moveUp(inner, name, top, &moved)
			}
			return err
		})
		if err == nil {
			_, err = remove(top, name)
		}
		return err
	})
}

// eachName calls f, which removes it, for each name in a folder until there is none,
// or none that f can remove.
func eachName(ctx context.Context, dir *os.File, f func(name string) error) error {
	for {
		some, err := eachNameOnce(ctx, dir, f)
		if !some || ctx.Err() != nil {
			return err
		}
	}
}

// eachNameOnce reports whether some were removed, and why others were not.
func eachNameOnce(ctx context.Context, dir *os.File, f func(name string) error) (some bool, err error) {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	var errs []error
	for {
		if err := ctx.Err(); err != nil {
			return some, err
		}
		names, err := dir.Readdirnames(namesAtOnce)
		if errors.Is(err, io.EOF) {
			return some, errors.Join(errs...)
		}
		if err != nil {
			return false, errors.Join(append(errs, err)...)
		}
		for _, name := range names {
			switch err := f(name); {
			case err == nil:
				some = true
			case len(errs) < maxTold:
				errs = append(errs, err)
			}
		}
	}
}

// remove removes a name, but no folder that is full.
func remove(dir *os.File, name string) (full bool, err error) {
	at := int(dir.Fd())
	err = unix.Unlinkat(at, name, 0)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
	}
	switch {
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		return true, nil
	case err == nil, errors.Is(err, unix.ENOENT):
		return false, nil
	}
	return false, &os.PathError{Op: "remove", Path: name, Err: err}
}

// moveUp moves a folder to where no other has its name, or an empty one that it
// replaces: no file system must know flags for that.
func moveUp(from *os.File, name string, top *os.File, moved *int) error {
	for {
		*moved++
		err := unix.Renameat(int(from.Fd()), name, int(top.Fd()), ".moved"+strconv.Itoa(*moved))
		if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.ENOTDIR) {
			return os.NewSyscallError("rename", err)
		}
	}
}

func openFolder(at int, name string) (*os.File, error) {
	for {
		fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}
