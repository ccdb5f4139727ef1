package logs

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// Writer appends to the log of one attempt. Its methods may be called from
// several goroutines.
type Writer struct {
	dir          string
	max, segment int64

	mu      sync.Mutex
	file    *os.File
	seq     int   // of the open segment
	size    int64 // of the open segment
	old     []segmentSize
	oldSize int64
	place   [Stderr + 1]place
	gap     bool // bytes were dropped since the last frame
	closed  bool
}

type segmentSize struct {
	seq  int
	size int64
}

const (
	minSegment = 16 << 10
	maxSegment = 16 << 20
)

var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// Create prepares the log in dir, for at most limit bytes on disk: the oldest
// segment goes first. An earlier log there is continued in a new segment. The
// folder is made with the first byte: most short tasks write nothing, and
// inodes cost more than processes.
func Create(dir string, limit int64) (*Writer, error) {
	w := &Writer{dir: dir, max: limit, segment: min(max(limit/4, minSegment), maxSegment)}
	seqs, err := segments(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the log folder: %w", err)
	}
	if len(seqs) > 0 {
		if err := Seal(dir); err != nil {
			return nil, fmt.Errorf("end the earlier log: %w", err)
		}
		if w.place, err = lastPlace(dir); err != nil {
			return nil, fmt.Errorf("read the earlier log: %w", err)
		}
	}
	for _, s := range seqs {
		if fi, err := os.Stat(segmentPath(dir, s)); err == nil {
			w.old = append(w.old, segmentSize{s, fi.Size()})
			w.oldSize += fi.Size()
		}
		w.seq = s
	}
	return w, nil
}

func (w *Writer) open() error {
	const flags = os.O_CREATE | os.O_EXCL | os.O_WRONLY | os.O_APPEND
	f, err := os.OpenFile(segmentPath(w.dir, w.seq+1), flags, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(w.dir, 0o700); err == nil {
			f, err = os.OpenFile(segmentPath(w.dir, w.seq+1), flags, 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	w.file, w.seq, w.size = f, w.seq+1, 0
	for len(w.old) > 0 && w.oldSize+w.segment > w.max {
		w.removeOldest()
	}
	return nil
}

func (w *Writer) removeOldest() {
	s := w.old[0]
	w.old, w.oldSize = w.old[1:], w.oldSize-s.size
	// A segment that cannot be removed is taken by the garbage collection of
	// the whole folder later.
	_ = os.Remove(segmentPath(w.dir, s.seq))
}

// Write appends p, which stream wrote at t. When the disk is full the oldest
// segments make room; what still finds none is dropped, and readers learn how
// much once there is room again. The error is of that kind: the writer stays
// usable.
func (w *Writer) Write(stream Stream, t time.Time, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return os.ErrClosed
	}
	for len(p) > 0 {
		n := min(len(p), maxFrame)
		if err := w.frame(stream, t, p[:n]); err != nil {
			w.gap, w.place[stream] = true, w.place[stream].after(p)
			return err
		}
		w.place[stream] = w.place[stream].after(p[:n])
		p = p[n:]
	}
	return nil
}

func (w *Writer) frame(stream Stream, t time.Time, p []byte) error {
	if err := w.room(int64(3*headerSize + len(p))); err != nil {
		return err
	}
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	b := (*buf)[:0]
	if w.gap || w.size == 0 && w.seq > 1 {
		b = appendMark(b, Stdout, w.place[Stdout])
		b = appendMark(b, Stderr, w.place[Stderr])
	}
	b = appendFrame(b, stream, t, p)
	*buf = b
	err := w.append(b)
	for errors.Is(err, syscall.ENOSPC) && len(w.old) > 0 {
		w.removeOldest()
		err = w.append(b)
	}
	if err == nil {
		w.gap = false
	}
	return err
}

// room has a segment open that takes n bytes more, or is empty.
func (w *Writer) room(n int64) error {
	switch {
	case w.file == nil:
		return w.open()
	case w.size > 0 && w.size+n > w.segment:
		return w.rotate()
	}
	return nil
}

// append writes b whole or not at all.
func (w *Writer) append(b []byte) error {
	n, err := w.file.Write(b)
	if err != nil {
		if n > 0 {
			err = errors.Join(err, w.file.Truncate(w.size))
		}
		return fmt.Errorf("write the log: %w", err)
	}
	w.size += int64(n)
	return nil
}

func (w *Writer) rotate() error {
	last, seg := w.file, segmentSize{w.seq, w.size}
	w.old, w.oldSize = append(w.old, seg), w.oldSize+seg.size
	if err := w.open(); err != nil {
		w.old, w.oldSize = w.old[:len(w.old)-1], w.oldSize-seg.size
		return err
	}
	return last.Close()
}

// Close marks the end of the log, so that those who follow it stop.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	if w.file == nil {
		return nil
	}
	return errors.Join(w.frame(end, time.Now(), nil), w.file.Close())
}

// SealEmpty marks the end of a log that nothing was written to, for those who
// follow it already.
func SealEmpty(dir string) error {
	w, err := Create(dir, minSegment)
	if err != nil || w.seq > 0 {
		return err
	}
	if err := w.open(); err != nil {
		return err
	}
	return w.Close()
}

// Seal marks the end of a log whose writer died. A log that does not exist or
// has its mark stays as it is.
func Seal(dir string) error {
	seqs, err := segments(dir)
	if err != nil || len(seqs) == 0 {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	last := seqs[len(seqs)-1]
	s, err := openSegment(dir, last)
	if err != nil {
		return err
	}
	defer s.close()
	ended := false
	for {
		e, err := s.next()
		if err != nil {
			break
		}
		ended = e.stream == end
	}
	if ended {
		return nil
	}
	f, err := os.OpenFile(segmentPath(dir, last), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(s.off); err != nil {
		return fmt.Errorf("cut the torn end of the log: %w", err)
	}
	_, err = f.WriteAt(appendFrame(nil, end, time.Now(), nil), s.off)
	return err
}
