package keeper

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/executor/logs"
	"github.com/mesita/mesita/isolation"
)

// waitProcess waits in the poller, where a waiting process costs no thread,
// and then collects the exit.
func waitProcess(p *isolation.Process) (isolation.Exit, error) {
	fd, err := unix.PidfdOpen(p.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return p.Wait() // an older kernel: at the price of a thread
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return p.Wait()
	}
	err = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
	if err != nil {
		return p.Wait()
	}
	return p.Wait()
}

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
