package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// watch tells when something in a log folder changes.
type watch struct {
	file *os.File
	dir  string
	on   string // the folder watched: dir, or the nearest parent that exists
}

const watchMask = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE_SELF

func newWatch(dir string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("follow the log: %w", err)
	}
	w := &watch{file: os.NewFile(uintptr(fd), "inotify"), dir: dir}
	if err := w.attach(); err != nil {
		return nil, errors.Join(err, w.file.Close())
	}
	return w, nil
}

// attach watches the folder, or what is there of its path. What is below that
// may have been made just before it was watched, so again until nothing is.
func (w *watch) attach() error {
	for w.on != w.dir {
		path, err := w.nearest()
		if err != nil {
			return err
		}
		if path == w.on {
			return nil
		}
		w.on = path
	}
	return nil
}

// nearest watches the folder, or the nearest parent that exists.
func (w *watch) nearest() (string, error) {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return "", err
	}
	for path := w.dir; ; path = filepath.Dir(path) {
		if path == w.on {
			return path, nil
		}
		var failed error
		if err := raw.Control(func(fd uintptr) { _, failed = unix.InotifyAddWatch(int(fd), path, watchMask) }); err != nil {
			return "", err
		}
		if failed == nil {
			return path, nil
		}
		if !errors.Is(failed, unix.ENOENT) || path == filepath.Dir(path) {
			return "", fmt.Errorf("follow the log in %s: %w", path, failed)
		}
	}
}

func (w *watch) close() error { return w.file.Close() }

// wait returns once something changed, or with the cause that ended ctx.
func (w *watch) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var buf [4096]byte
	if _, err := w.file.Read(buf[:]); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("follow the log: %w", err)
	}
	if w.on != w.dir {
		return w.attach()
	}
	return nil
}

// wait blocks until the log may have grown. The first call only arms the
// watch, since the log may have grown before.
func (r *Reader) wait(ctx context.Context) error {
	if r.watch == nil {
		w, err := newWatch(r.dir)
		r.watch = w
		return err
	}
	return r.watch.wait(ctx)
}
