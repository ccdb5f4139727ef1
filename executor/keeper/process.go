package keeper

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/executor/logs"
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// copyOutput writes what comes from the pipe to the log until its end. It
// holds a buffer only while there is something to read.
func (s *server) copyOutput(t *task, w *logs.Writer, stream logs.Stream, f *os.File) {
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		s.log.Error("the output of a task cannot be read", "task", t.status.ID, "error", err)
		return
	}
	full := false
	for {
		var n int
		var rerr error
		err := raw.Read(func(fd uintptr) bool {
			b := buffers.Get().(*[]byte)
			defer buffers.Put(b)
			n, rerr = unix.Read(int(fd), *b)
			if errors.Is(rerr, unix.EAGAIN) {
				return false
			}
			if n > 0 {
				err := w.Write(stream, time.Now(), (*b)[:n])
				if err != nil && !full {
					s.log.Error("a task's log cannot be written; what it writes meanwhile is dropped", "task", t.status.ID, "error", err)
				}
				full = err != nil
			}
			return true
		})
		if err != nil || n <= 0 && !errors.Is(rerr, unix.EINTR) {
			return
		}
	}
}
