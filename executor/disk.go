package executor

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
)

const (
	diskEvery = 10 * time.Second       // the disk is looked at while tasks run
	diskFresh = 100 * time.Millisecond // an answer about it holds good, with
	diskSpare = 1 << 30                // this much space left: no disk takes more in that time
	diskWait  = 100 * time.Millisecond // that anybody waits for a look: the cluster asks nodes whether they are there
)

// disk watches the space below the data folder. It is full when less is free
// than Config.DiskMin or 5 % of the disk, whichever is less, and has space
// again when a quarter more than that is free.
type disk struct {
	cfg *Config

	mu    sync.Mutex
	look  *look // under way; nil = none
	full  bool
	fine  time.Time // until when there is space for sure
	timer *time.Timer
}

// look is one look at the disk, and what it found once done is closed.
type look struct {
	since   time.Time
	done    chan struct{}
	full    bool
	message string
}

// check looks, and says what is wrong if the disk is full. One that does not
// answer in time is as it was, until it does, and nobody else waits for it: the
// loop would wait once for each of the tasks that are to start.
func (d *disk) check(log *slog.Logger) (full bool, message string) {
	d.mu.Lock()
	l, was := d.look, d.full
	if l == nil {
		l = &look{since: time.Now(), done: make(chan struct{})}
		d.look = l
		go d.take(l, log) // there is one at a time
	}
	d.mu.Unlock()
	t := time.NewTimer(time.Until(l.since.Add(diskWait)))
	defer t.Stop()
	select {
	case <-l.done:
		return l.full, l.message
	case <-t.C:
		return was, "the disk was full when last looked at, and does not say whether it is now"
	}
}

func (d *disk) take(l *look, log *slog.Logger) {
	defer close(l.done)
	free, total, err := d.cfg.DiskFree(d.cfg.DataDir)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look = nil
	if err != nil {
		log.Warn("the free disk space is not known", "error", err)
		l.full, l.message = d.full, "the disk was full when last looked at"
		return
	}
	l.full, l.message = d.found(free, total, log)
}

// found takes in how much is free. d.mu is held.
func (d *disk) found(free, total int64, log *slog.Logger) (full bool, message string) {
	limit := min(d.cfg.DiskMin, total/20)
	if d.fine = (time.Time{}); free-limit > diskSpare {
		d.fine = d.cfg.Now().Add(diskFresh)
	}
	was := d.full
	if d.full {
		d.full = free < limit+limit/4
	} else {
		d.full = free < limit
	}
	if d.full != was && d.full {
		log.Error("the disk is full: no more tasks start here until there is space", "folder", d.cfg.DataDir, "free", api.Bytes(free), "needed", api.Bytes(limit))
	} else if d.full != was {
		log.Info("the disk has space again", "folder", d.cfg.DataDir, "free", api.Bytes(free))
	}
	if !d.full {
		return false, ""
	}
	return true, fmt.Sprintf("the disk of node %s is full: %s is free below %s and %s is needed; make room there",
		d.cfg.Name, api.Bytes(free), d.cfg.DataDir, api.Bytes(limit+limit/4))
}

// watch looks now and then, as long as tasks run. The loop calls it.
func (d *disk) watch(e *Executor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		return
	}
	d.timer = e.after(diskEvery, func() {
		d.mu.Lock()
		d.timer = nil
		d.mu.Unlock()
		d.check(e.log)
		if e.loop.active > 0 {
			d.watch(e)
		}
	})
}

func (d *disk) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
}

// DiskFull tells whether the node refuses new tasks for want of disk space.
// Thousands may ask: while there is plenty, it looks ten times a second at most.
func (e *Executor) DiskFull() bool {
	d := e.disk
	d.mu.Lock()
	left := d.fine.Sub(d.cfg.Now())
	d.mu.Unlock()
	if left > 0 && left <= diskFresh { // more: the clock was set back
		return false
	}
	full, _ := d.check(e.log)
	return full
}
