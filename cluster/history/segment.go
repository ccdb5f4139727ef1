package history

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

const (
	suffix  = ".events"
	aside   = ".damaged"
	perLog  = 32               // segments that fill a history
	perAge  = 30               // and that its time is split into
	atLeast = int64(4096)      // bytes of a full segment
	most    = 1024             // segments
	retry   = 10 * time.Second // after a write failed
)

// segment is one file, as far as it can be read.
type segment struct {
	number         uint64
	path           string
	size           int64
	first, last    uint64 // indexes; 0 = it is empty
	oldest, newest int64  // times
	whole          bool   // nothing follows what can be read: it can be appended to
}

func (s *segment) add(h *header) {
	if s.first == 0 {
		s.first, s.oldest, s.newest = h.First, h.Oldest, h.Newest
	}
	s.first, s.last = min(s.first, h.First), max(s.last, h.Last)
	s.oldest, s.newest = min(s.oldest, h.Oldest), max(s.newest, h.Newest)
	s.size += h.size()
}

// open finds out what is on disk. A file that cannot be read at all is moved
// aside; of one that is damaged, the part before the damage stays of use.
func (w *writer) open() {
	w.coder = newCoder()
	entries, err := os.ReadDir(w.cfg.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.failed("read", w.cfg.Dir, err)
	}
	var found []segment
	for _, e := range entries {
		n, err := strconv.ParseUint(strings.TrimSuffix(e.Name(), suffix), 10, 64)
		if err != nil || !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		found = append(found, segment{number: n, path: filepath.Join(w.cfg.Dir, e.Name())})
	}
	sort.Slice(found, func(i, j int) bool { return found[i].number < found[j].number })
	var good []segment
	for i := range found {
		w.number = found[i].number
		if w.load(&found[i], i == len(found)-1) {
			good = append(good, found[i])
		}
	}
	w.mu.Lock()
	w.segments = good
	w.mu.Unlock()
	w.prune()
}

// load reads the headers of a segment, of the newest also what is in its
// frames. It is false if the segment is of no use.
func (w *writer) load(s *segment, newest bool) bool {
	f, err := os.Open(s.path)
	if err != nil {
		w.failed("read", s.path, err)
		return false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		w.failed("read", s.path, err)
		return false
	}
	s.size = int64(len(preamble))
	in := &window{r: f, size: st.Size()}
	var end frame
	err = in.frames(false, func(fr frame, _ bloom) error {
		if newest {
			if _, err := fr.body(f); err != nil {
				return fmt.Errorf("at byte %d: %w", fr.at, err)
			}
		}
		end = fr
		s.add(&fr.header)
		return nil
	})
	s.whole = err == nil && s.size == st.Size()
	if newest && s.first != 0 {
		if events, err := w.coder.events(f, end); err == nil && len(events) > 0 {
			w.lastEvent = events[len(events)-1]
		}
	}
	switch {
	case s.first == 0 && err == nil: // nothing was ever written to it
		_ = os.Remove(s.path) // else it is found again
		return false
	case s.first == 0:
		w.setAside(s.path, err)
		return false
	case errors.Is(err, io.ErrUnexpectedEOF):
		w.cfg.Log.Info("the history of events was cut off in the middle of a write: what came after goes to a new file", "file", s.path, "kept", api.Bytes(s.size))
	case err != nil:
		w.cfg.Log.Warn("the history of events is damaged: what comes after the damage is left out", "file", s.path, "kept", api.Bytes(s.size), "err", err)
	}
	w.last = max(w.last, s.last)
	return true
}

// setAside moves away a file that nothing can be read of. One is kept, for who
// wants to look at it.
func (w *writer) setAside(path string, why error) {
	old, err := filepath.Glob(filepath.Join(w.cfg.Dir, "*"+aside))
	for _, p := range old {
		err = errors.Join(err, os.Remove(p))
	}
	if err = errors.Join(err, os.Rename(path, path+aside)); err != nil {
		w.failed("move aside", path, err)
		return
	}
	w.cfg.Log.Warn("a file of the history of events cannot be read: moved aside", "file", path, "to", path+aside, "why", why)
}

// grow makes sure that there is a segment that takes another frame.
func (w *writer) grow() error {
	if w.file != nil {
		s := &w.segments[len(w.segments)-1] // only the writer changes segments
		full := s.size >= max(w.cfg.MaxBytes/perLog, atLeast)
		long := s.first != 0 && w.cfg.Now().Sub(time.Unix(0, s.oldest)) > w.cfg.MaxAge/perAge
		if !full && !long {
			return nil
		}
		err := errors.Join(w.file.Sync(), w.file.Close())
		w.file = nil
		if err != nil {
			w.cfg.Log.Warn("a file of the history of events may not be on disk", "file", s.path, "err", err)
		}
	} else if n := len(w.segments); n > 0 && w.segments[n-1].whole {
		f, err := os.OpenFile(w.segments[n-1].path, os.O_RDWR, 0o600)
		if err == nil {
			w.file = f
			return w.grow()
		}
	}
	return w.begin()
}

// begin makes a new segment.
func (w *writer) begin() error {
	if err := os.MkdirAll(w.cfg.Dir, 0o700); err != nil {
		return err
	}
	s := segment{number: w.number + 1, path: filepath.Join(w.cfg.Dir, fmt.Sprintf("%010d%s", w.number+1, suffix)), size: int64(len(preamble)), whole: true}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(preamble), 0); err != nil {
		return errors.Join(err, f.Close(), os.Remove(s.path))
	}
	w.file, w.number = f, s.number
	w.mu.Lock()
	w.segments = append(slices.Clip(w.segments), s)
	w.mu.Unlock()
	return nil
}

// prune removes the oldest segments while there is too much, and those whose
// time is over.
func (w *writer) prune() {
	var total int64
	for i := range w.segments {
		total += w.segments[i].size
	}
	limit := w.cfg.Now().Add(-w.cfg.MaxAge).UnixNano()
	n := 0
	for ; n < len(w.segments); n++ {
		s := &w.segments[n]
		last := n == len(w.segments)-1
		if s.newest >= limit && (last || total <= w.cfg.MaxBytes && len(w.segments)-n <= most) || last && s.first == 0 {
			break
		}
		if last && w.file != nil {
			_ = w.file.Close() // it goes
			w.file = nil
		}
		if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			w.failed("remove", s.path, err)
			break
		}
		total -= s.size
	}
	if n > 0 {
		w.mu.Lock()
		w.segments = slices.Clone(w.segments[n:])
		w.mu.Unlock()
	}
}
