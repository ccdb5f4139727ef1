package consensus

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// alarm rings once after the time that was last set, 0 = at once. Setting it
// wakes nobody.
type alarm interface {
	set(d time.Duration)
	stop() // for good
}

// newAlarm makes an alarm of the kernel's, or where it gives none one of Go's.
//
// A timer of Go's that is put off stays where it was in its heap: the process is
// woken for it at its old time, only to put it in its place, and the monitor of
// the runtime once more. For one that every heartbeat puts off that is three times
// a second for nothing.
func newAlarm(ring func()) alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return newTimerAlarm(ring)
	}
	a := &kernelAlarm{fd: fd, file: os.NewFile(uintptr(fd), "timerfd")}
	a.read.Go(func() { a.wait(ring) })
	return a
}

type kernelAlarm struct {
	file *os.File
	read sync.WaitGroup

	mu sync.Mutex
	fd int // -1 = it is closed
}

// wait rings until the file is closed.
func (a *kernelAlarm) wait(ring func()) {
	var times [8]byte
	for {
		if _, err := a.file.Read(times[:]); err != nil {
			return
		}
		ring()
	}
}

func (a *kernelAlarm) set(d time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(d, 1)))} // 0 would be never
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fd >= 0 {
		_ = unix.TimerfdSettime(a.fd, 0, &spec, nil) // a time of this kind is never refused
	}
}

func (a *kernelAlarm) stop() {
	a.mu.Lock()
	a.fd = -1
	_ = a.file.Close() // nothing was written
	a.mu.Unlock()
	a.read.Wait()
}

// timerAlarm is one of Go's, which a bubble of tests can turn.
type timerAlarm struct{ timer *time.Timer }

func newTimerAlarm(ring func()) alarm {
	t := time.AfterFunc(time.Hour, ring)
	t.Stop()
	return timerAlarm{t}
}

func (a timerAlarm) set(d time.Duration) { a.timer.Reset(d) }
func (a timerAlarm) stop()               { a.timer.Stop() }
