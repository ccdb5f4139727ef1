package history

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mesita/mesita/api"
)

const (
	readAtOnce = 1024
	fullBatch  = 128 << 10     // bytes, before they are packed
	openFor    = time.Second   // how long a batch waits for more
	pruneEvery = 1 * time.Hour // while nothing happens
)

// writer follows the events; only Run's goroutine uses it. It alone changes the
// segments, so it reads them without the lock.
type writer struct {
	*History
	*coder

	file      *os.File  // of the newest segment; nil = to be opened
	number    uint64    // of the newest segment ever seen
	last      uint64    // index of the last event that was taken
	lastEvent api.Event // as read from disk, until it was compared
	batch     batch
	due       time.Time // when the batch is written at the latest
	broken    bool      // the last write failed, and was logged
}

func (w *writer) follow(ctx context.Context) error {
	for {
		wait := pruneEvery
		if w.batch.Count > 0 {
			wait = w.due.Sub(w.cfg.Now())
		}
		if w.broken {
			if err := pause(ctx, wait); err != nil {
				return err
			}
			w.flush()
			continue
		}
		err := w.take(ctx, wait)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, context.DeadlineExceeded):
			w.flush()
			w.prune()
		case api.ErrorCode(err) == api.CodeConflict:
			w.findPlace(ctx)
		case err != nil:
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// take reads some events, and writes when there are enough.
func (w *writer) take(ctx context.Context, wait time.Duration) error {
	within, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if w.lastEvent.Index != 0 && w.diverged() {
		return nil
	}
	events, err := w.cfg.Source.Events(within, w.last, readAtOnce)
	for i := range events {
		w.put(&events[i])
	}
	if w.batch.Count > 0 && !w.broken && !w.cfg.Now().Before(w.due) {
		w.flush()
	}
	return err
}

func (w *writer) put(e *api.Event) {
	w.last = e.Index
	if w.batch.Count == 0 {
		w.due = w.cfg.Now().Add(openFor)
	}
	if err := w.coder.add(&w.batch, e); err != nil {
		w.failed("write", w.cfg.Dir, err)
	}
	if len(w.batch.raw) >= fullBatch && !w.broken {
		w.flush()
	}
}

// diverged reports whether the event at the end of the history is another one
// than the store's with that index: the cluster was recovered from a node that
// knew less. What the store keeps is then written again, and hides what is on
// disk with the same indexes.
func (w *writer) diverged() bool {
	oldest, newest := w.cfg.Source.EventBounds()
	if newest < w.last {
		return false // the log is still being replayed
	}
	was := w.lastEvent
	w.lastEvent = api.Event{}
	is := w.cfg.Source.EventsBefore(w.last+1, 1)
	if len(is) == 0 || is[0].Index != was.Index || is[0].Kind == was.Kind && is[0].Object == was.Object && is[0].Time.Equal(was.Time) || was.Kind == api.EventsMissed {
		return false
	}
	w.cfg.Log.Warn("the history of events is not of this cluster's log: what differs is hidden", "from", oldest, "to", w.last)
	w.last = oldest - 1
	return true
}

// findPlace continues where the store's events begin, when those in between are
// gone, or waits until the store has come to where the history ends.
func (w *writer) findPlace(ctx context.Context) {
	oldest, newest := w.cfg.Source.EventBounds()
	if newest < w.last {
		within, cancel := context.WithTimeout(ctx, pruneEvery)
		defer cancel()
		_, _ = w.cfg.Source.Events(within, newest, 1) // only to wait: whatever it says is looked at again
		return
	}
	to := oldest - 1
	if oldest == 0 {
		to = newest
	}
	if to <= w.last {
		return
	}
	from := w.last + 1
	w.cfg.Log.Info("some events are not in the history of this node", "from", from, "to", to)
	e := missed(w.cfg.Node, from, to, w.cfg.Now())
	w.put(&e)
}

// missed is the event in place of those that are not in a node's history.
func missed(node string, from, to uint64, at time.Time) api.Event {
	return api.Event{Index: to, Time: at, Kind: api.EventsMissed, Object: node, Node: node, Actor: "node:" + node,
		Message: fmt.Sprintf("events %d to %d are not in the history of this node", from, to)}
}

// flush writes the batch. When that fails it is kept and tried again, and
// nothing more is read meanwhile.
func (w *writer) flush() {
	if w.batch.Count == 0 {
		return
	}
	b, err := w.coder.frame(&w.batch)
	if err == nil {
		err = w.append(b)
	}
	if err != nil {
		w.due = w.cfg.Now().Add(retry)
		if !w.broken {
			w.broken = true
			w.failed("write", w.cfg.Dir, err)
		}
		return
	}
	if w.broken {
		w.broken = false
		w.cfg.Log.Info("the history of events continues", "folder", w.cfg.Dir)
	}
	w.batch.reset()
	w.prune()
}

func (w *writer) append(b []byte) error {
	if err := w.grow(); err != nil {
		return err
	}
	s := w.segments[len(w.segments)-1]
	if _, err := w.file.WriteAt(b, s.size); err != nil {
		// What was written of it must not be taken for damage later.
		err = errors.Join(err, w.file.Truncate(s.size), w.file.Close())
		w.file = nil
		return err
	}
	h := w.batch.header
	s.add(&h)
	s.size += int64(len(b)) - h.size()
	w.mu.Lock()
	w.segments[len(w.segments)-1] = s
	w.mu.Unlock()
	return nil
}

// close writes what is left.
func (w *writer) close() {
	w.flush()
	if w.file == nil {
		return
	}
	if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
		w.failed("close", w.cfg.Dir, err)
	}
}

func (w *writer) failed(what, path string, err error) {
	w.cfg.Log.Warn("the history of events: "+what+" failed; the node continues without it", "path", path, "err", err)
}
