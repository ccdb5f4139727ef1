package audit

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mesita/mesita/api"
)

const (
	retry   = 10 * time.Second // after a write failed
	atOnce  = 256              // records of one write
	sizeMax = 1 << 20          // bytes of one write that is not waited with
)

// writer appends records to files; only Run's goroutine uses it.
type writer struct {
	*Log
	file   *os.File // nil = the next is to be begun
	size   int64    // of it
	oldest time.Time
	number uint64        // of the newest file
	chain  api.AuditHead // with what is in buf
	buf    []byte        // not written yet
	newest time.Time     // of what is in buf
	count  int
	broken <-chan time.Time   // the last write failed: when to try again
	torn   []*api.AuditRecord // what was found at the start, newest first
}

// take adds a record, and all that wait with it, and writes them.
func (w *writer) take(n note) {
	w.add(n)
	for w.count < atOnce && len(w.buf) < sizeMax {
		select {
		case n := <-w.queue:
			w.add(n)
			continue
		default:
		}
		break
	}
	w.flush()
}

func (w *writer) add(n note) {
	if n.before != nil || n.after != nil {
		n.Changed = changes(n.before, n.after)
	}
	b, err := link(n.AuditRecord, &w.chain)
	if err != nil {
		w.cfg.Log.Error("a record of the audit cannot be written", "route", n.Route, "err", err)
		w.lost.Add(1)
		return
	}
	w.buf, w.newest = append(w.buf, b...), n.Time
	w.count++
}

// flush writes what was added. While the disk takes nothing it is kept, and no
// more is taken.
func (w *writer) flush() {
	w.broken = nil
	if len(w.buf) == 0 {
		return
	}
	err := w.write()
	if err != nil {
		w.broken = time.After(retry)
		if why := err.Error(); w.lastErr.Swap(&why) == nil {
			w.cfg.Log.Error("the audit cannot be written: the node continues without it", "folder", w.cfg.Dir, "err", err)
		}
		w.stuck.Store(true)
		return
	}
	w.buf, w.count = w.buf[:0], 0
	if cap(w.buf) > sizeMax {
		w.buf = nil
	}
	w.mu.Lock()
	w.head, w.end = w.chain, w.size
	w.mu.Unlock()
	if w.lastErr.Swap(nil) != nil {
		w.cfg.Log.Info("the audit continues", "folder", w.cfg.Dir)
	}
	w.stuck.Store(false)
	if lost := w.lost.Swap(0); lost > 0 {
		w.add(note{AuditRecord: &api.AuditRecord{Time: w.cfg.Now(), Node: w.cfg.Node, Action: api.AuditLost, Outcome: api.AuditFailed,
			Reason: fmt.Sprintf("%d records could not be kept", lost)}})
		w.flush()
	}
}

// source is where the next record comes from: nowhere while the disk takes none.
func (w *writer) source() <-chan note {
	if w.broken != nil {
		return nil
	}
	return w.queue
}

func (w *writer) write() error {
	if err := w.grow(); err != nil {
		return err
	}
	n, err := w.file.WriteAt(w.buf, w.size)
	if err == nil {
		w.size += int64(n)
		return nil
	}
	// What was written of it must not be taken for damage later.
	if cutErr := w.file.Truncate(w.size); cutErr != nil {
		err = errors.Join(err, cutErr, w.file.Close())
		w.file = nil
	}
	return err
}

func (w *writer) drain() {
	if w.broken != nil {
		w.flush()
	}
	for len(w.queue) > 0 && w.broken == nil {
		w.take(<-w.queue)
	}
}

// close writes what is left.
func (w *writer) close() {
	w.drain()
	w.endWindow()
	w.drain()
	if w.file == nil {
		return
	}
	if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
		w.cfg.Log.Error("the audit may not be on disk", "folder", w.cfg.Dir, "err", err)
	}
}
