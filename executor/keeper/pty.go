package keeper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// streams are our ends and the command's ends of its input and output.
type streams struct {
	theirs []*os.File
	in     *os.File   // we write
	out    []*os.File // we read: output, errors; with a terminal the same as in
}

func openStreams(r *ExecRequest) (*streams, error) {
	if r.TTY {
		return openTerminal(r.Size)
	}
	st := &streams{}
	in, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	st.theirs, st.in = append(st.theirs, in), inW
	for range 2 {
		out, w, err := pipe()
		if err != nil {
			st.close()
			return nil, err
		}
		st.theirs, st.out = append(st.theirs, w), append(st.out, out)
	}
	return st, nil
}

func openTerminal(size Size) (*streams, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	master := os.NewFile(uintptr(fd), "terminal")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("open a terminal: %w", err), master.Close())
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open a terminal: %w", err), master.Close())
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open a terminal: %w", err), master.Close())
	}
	st := &streams{theirs: []*os.File{slave}, in: master, out: []*os.File{master}}
	st.resize(size)
	return st, nil
}

func (st *streams) resize(s Size) {
	if s.Rows == 0 || s.Cols == 0 {
		return
	}
	raw, err := st.in.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { // a wrong size is not a reason to fail
			_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Cols})
		})
	}
}

func (st *streams) close() {
	for _, f := range append(append([]*os.File{st.in}, st.out...), st.theirs...) {
		if f != nil {
			f.Close()
		}
	}
}

// copy moves bytes until the command's output ends, and sizes until over; wait
// waits for the former, but not long for more than was written by then: a process
// that the command left behind may hold the output open.
func (st *streams) copy(r *ExecRequest, over <-chan struct{}) (wait func()) {
	if r.Stdin == nil {
		if !r.TTY {
			st.in.Close()
		}
	} else {
		go func() { // ends with r.Stdin, or with the next byte after the command
			_, _ = io.Copy(st.in, r.Stdin)
			if !r.TTY {
				st.in.Close()
			}
		}()
	}
	var out sync.WaitGroup
	for i, f := range st.out {
		w := r.Stdout
		if i == 1 {
			w = r.Stderr
		}
		if w == nil {
			w = io.Discard
		}
		out.Go(func() { copyAll(w, f) })
	}
	go func() {
		for {
			select {
			case s, ok := <-r.Resize:
				if !ok {
					return
				}
				st.resize(s)
			case <-over:
				return
			}
		}
	}()
	return func() {
		deadline := time.Now().Add(drainTime)
		for _, f := range st.out {
			_ = f.SetReadDeadline(deadline) // files that have none end by themselves
		}
		out.Wait()
	}
}
