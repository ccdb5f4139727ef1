package executor

import (
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/executor/usage"
	"golang.org/x/sys/unix"
)

const (
	diskEvery   = 10 * time.Second       // the disk is looked at while tasks run, or
	diskSoon    = 250 * time.Millisecond // so often when it may be full soon, as it is
	diskSpeed   = 1 << 30                // filled by no more than this a second
	diskFresh   = 100 * time.Millisecond // an answer about it holds good, with
	diskReserve = 1 << 30                // is kept free, of any but a small disk
	diskSpare   = 1 << 30                // this much space left: no disk takes more in that time
	diskWait    = 100 * time.Millisecond // that anybody waits for a look: the cluster asks nodes whether they are there
)

// disk watches the space below the data folder. It is full when less is free
// than what is to stay so, and has space again when a quarter more than that is free.
type disk struct {
	cfg *Config

	mu    sync.Mutex
	look  *look // under way; nil = none
	full  bool
	fine  time.Time // until when there is space for sure
	last  usage.Space
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

// reserve is how much of a disk of that size stays free.
func (d *disk) reserve(total int64) int64 {
	if d.cfg.DiskReserve != 0 {
		return d.cfg.DiskReserve
	}
	return min(diskReserve, total/20)
}

// room refuses, as a disk that is full does, to put so many bytes on the disk where less
// than what is kept free would be left.
func (d *disk) room(bytes int64) error {
	free, total, err := d.cfg.DiskFree(d.cfg.DataDir)
	if err != nil {
		return nil // writing tells
	}
	if limit := d.reserve(total); free-bytes < limit {
		return fmt.Errorf("%s more on the disk of %s, of which %s is free and %s stays so: %w", api.Bytes(bytes), d.cfg.DataDir, api.Bytes(free), api.Bytes(limit), unix.ENOSPC)
	}
	return nil
}

// spare is how many bytes may be put on the disk, and how many have to stay free. Of a
// disk that does not say writing tells.
func (d *disk) spare() (bytes, reserve int64) {
	free, total, err := d.cfg.DiskFree(d.cfg.DataDir)
	if err != nil {
		return math.MaxInt64, 0
	}
	reserve = d.reserve(total)
	return max(free-reserve, 0), reserve
}

// found takes in how much is free. d.mu is held.
func (d *disk) found(free, total int64, log *slog.Logger) (full bool, message string) {
	limit := d.reserve(total)
	d.last = usage.Space{Free: free, Reserve: limit}
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
	d.timer = e.after(d.pause(), func() {
		e.loop.work.Go(func() {
			d.check(e.log)
			e.post(func() {
				d.mu.Lock()
				d.timer = nil
				d.mu.Unlock()
				if e.loop.active > 0 && e.loop.ctx.Err() == nil {
					e.guardSpace()
					d.watch(e)
				}
			})
		})
	})
}

// pause is how long it takes until the disk can be short of space, or be full if it is
// short. d.mu is held.
func (d *disk) pause() time.Duration {
	room := d.last.Free - 2*d.last.Reserve
	if room <= 0 {
		room = d.last.Free - d.last.Reserve
	}
	return min(max(time.Duration(room/diskSpeed)*time.Second, diskSoon), diskEvery)
}

// space is what was found last; not ok: nothing yet.
func (d *disk) space() (usage.Space, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last, d.last != usage.Space{}
}

func (d *disk) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
}

// DiskFull reports whether the node refuses new tasks for want of disk space.
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
