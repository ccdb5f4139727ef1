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
	diskFresh = 100 * time.Millisecond // an answer about it holds good
)

// disk watches the space below the data folder. It is full when less is free
// than Config.DiskMin or 5 % of the disk, whichever is less, and has space
// again when a quarter more than that is free.
type disk struct {
	cfg *Config

	mu     sync.Mutex
	full   bool
	looked time.Time // when last
	timer  *time.Timer
}

// check looks, and says what is wrong if the disk is full.
func (d *disk) check(log *slog.Logger) (full bool, message string) {
	free, total, err := d.cfg.DiskFree(d.cfg.DataDir)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		log.Warn("the free disk space is not known", "error", err)
		return d.full, "the disk was full when last looked at"
	}
	d.looked = d.cfg.Now()
	limit := min(d.cfg.DiskMin, total/20)
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
// It looks at most ten times a second: thousands may ask.
func (e *Executor) DiskFull() bool {
	d := e.disk
	d.mu.Lock()
	full, age := d.full, d.cfg.Now().Sub(d.looked)
	d.mu.Unlock()
	if age >= 0 && age < diskFresh {
		return full
	}
	full, _ = d.check(e.log)
	return full
}
