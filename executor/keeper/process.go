package keeper

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/executor/logs"
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// diskWrites is how many logs are written at the same time. Who writes has a
// thread, and a program with 10,000 of them is ended by Go's runtime: a keeper
// of as many tasks would be, and they with it, as soon as its disk hung.
const diskWrites = 256

// onDisk does what may wait for the disk, once few enough others do.
func (s *server) onDisk(do func() error) error {
	s.disk <- struct{}{}
	defer func() { <-s.disk }()
	return do()
}

// copyOutput writes what comes from the pipe to the log until its end. It
// holds a buffer only while there is something to read.
func (s *server) copyOutput(t *task, w *logs.Writer, stream logs.Stream, f *os.File) {
	defer f.Close()
	full := false
	err := readAll(f, func(p []byte) error {
		now := time.Now()
		err := s.onDisk(func() error { return w.Write(stream, now, p) })
		if err != nil && !full {
			s.log.Error("a task's log cannot be written; what it writes meanwhile is dropped", "task", t.status.ID, "error", err)
		}
		full = err != nil
		return nil
	})
	if err != nil {
		s.log.Error("the output of a task cannot be read", "task", t.status.ID, "error", err)
	}
}

// readAll hands on what comes from a pipe or terminal until its end, or what is
// there at its deadline; then no more than it holds, since somebody may write on.
func readAll(f *os.File, take func([]byte) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var r reading
	for {
		switch err := raw.Read(r.read); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return r.rest(raw, take)
		case err != nil:
			return nil // it was closed
		}
		if more, err := r.hand(take); !more {
			return err
		}
	}
}

// reading is one read and its outcome.
type reading struct {
	buf *[]byte // nil where nothing came
	n   int
	err error
}

// read is false if there is nothing to read now.
func (r *reading) read(fd uintptr) bool {
	r.buf = buffers.Get().(*[]byte)
	if r.n, r.err = unix.Read(int(fd), *r.buf); r.n > 0 {
		return true
	}
	buffers.Put(r.buf)
	r.buf = nil
	return !errors.Is(r.err, unix.EAGAIN)
}

// hand hands on what was read, and reports whether there may be more.
func (r *reading) hand(take func([]byte) error) (more bool, err error) {
	if r.buf == nil {
		return errors.Is(r.err, unix.EINTR), nil // a terminal ends with EIO
	}
	defer buffers.Put(r.buf)
	if err := take((*r.buf)[:r.n]); err != nil {
		return false, err
	}
	return true, nil
}

// terminalHolds is more than the kernel keeps of what a terminal prints.
const terminalHolds = 64 << 10

// rest hands on what is there now.
func (r *reading) rest(raw syscall.RawConn, take func([]byte) error) error {
	left, any := terminalHolds, true
	_ = raw.Control(func(fd uintptr) {
		if size, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0); err == nil {
			left = size
		}
	})
	for left > 0 {
		if err := raw.Control(func(fd uintptr) { any = r.read(fd) }); err != nil || !any {
			return nil // it was closed, or is empty
		}
		if more, err := r.hand(take); !more {
			return err
		}
		left -= max(r.n, 0)
	}
	return nil
}

// copyAll is readAll into a writer, until that takes no more.
func copyAll(w io.Writer, f *os.File) {
	_ = readAll(f, func(p []byte) error { // who writes to what nobody reads waits, until it is ended
		_, err := w.Write(p)
		return err
	})
}

// give makes pipes and terminals those of the user who has them open, who may
// open them again then, as programs do that write to /dev/stdout.
func give(uid uint32, files ...*os.File) {
	for _, f := range files {
		if uid != 0 && passed(f) {
			_ = f.Chown(int(uid), -1) // most programs do without
		}
	}
}

// passed reports whether a file is one that was made for a process: others are
// everybody's.
func passed(f *os.File) bool {
	fi, err := f.Stat()
	if err != nil {
		return false
	}
	const pts, last = 136, 143 // major numbers of terminals
	st, ok := fi.Sys().(*syscall.Stat_t)
	terminal := ok && fi.Mode()&os.ModeCharDevice != 0 && unix.Major(st.Rdev) >= pts && unix.Major(st.Rdev) <= last
	return terminal || fi.Mode()&os.ModeNamedPipe != 0
}
