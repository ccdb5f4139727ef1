package consensus

import (
	"errors"
	"syscall"
	"time"
)

const (
	// hangsLong is from when on a write that does not end is told to the cluster: a
	// busy machine has one that takes seconds now and then.
	hangsLong = 15 * time.Second
	// wellAfter is for how long nothing may have failed until the log counts as one
	// that can be written: on a full disk some writes succeed.
	wellAfter = 10 * time.Second
)

// fault is what the cluster is told of writes that fail.
type fault struct {
	why   string
	since time.Time // the first that failed
	last  time.Time // the last
}

// failed notes a failure.
func (f *fault) failed(err error, now time.Time) {
	why := "the disk hangs"
	var errno syscall.Errno
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		why = "the disk is full"
	case errors.As(err, &errno):
		why = errno.Error()
	case !errors.Is(err, errHangs):
		why = "see the log of its daemon"
	}
	if why != f.why || now.Sub(f.last) >= wellAfter {
		f.why, f.since = why, now
	}
	f.last = now
}

// text is what is wrong, as far as err, the state of now, and the time go.
func (f *fault) text(err error, now time.Time) string {
	hangs := errors.Is(err, errHangs)
	switch {
	case err == nil && (f.why == "" || now.Sub(f.last) >= wellAfter):
		return ""
	case (hangs || err == nil && f.why == "the disk hangs") && now.Sub(f.since) < hangsLong:
		return ""
	}
	return f.why
}
