package logs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"time"
)

// maxSkip is how many bytes are looked at for a line's start after some were
// missing: what has no lines continues anywhere.
const maxSkip = 64 << 10

const (
	whyRotated = "the log was rotated before they were read"
	whyFull    = "the disk was full"
)

// track is the place of a reader in one stream, after what it has read.
type track struct {
	place
	unsure bool  // it is not known what was before
	told   int64 // up to where the stream was returned, told of as missing, or is not wanted
	skip   int   // how many bytes more to look at for a line's start
	quiet  bool  // what is left out for it is not wanted anyway
	line   int64 // where its newest line begins; kept by seekTail
	why    string
}

// mark takes the place of a stream from a mark.
func (r *Reader) mark(f frame) {
	t := &r.at[f.stream]
	n := f.Time.UnixNano()
	now := place{n >> 1, n&1 != 0}
	switch {
	case t.unsure:
		t.told, t.unsure = now.bytes, false
	case now.bytes > t.bytes && now.bytes > t.told:
		if t.skip, t.quiet = 0, false; now.open {
			t.skip = maxSkip
		}
		if t.why = r.holed; t.why == "" {
			t.why = whyFull
		}
	}
	if t.place = now; f.stream == Stderr { // the marks of both streams come together
		r.holed = ""
	}
}

// follow keeps the place over a frame.
func (r *Reader) follow(f frame) {
	r.ended = f.stream == end
	if r.last = f.Time; r.ended {
		return
	}
	if r.holed != "" { // written by a program before there were marks
		r.lost, r.holed = r.holed, ""
		for s := range r.at {
			t := &r.at[s]
			t.unsure, t.told, t.skip, t.quiet = true, t.bytes, maxSkip, false
		}
	}
	t := &r.at[f.stream]
	t.place = t.after(f.Data)
}

// unwanted leaves all up to here out, and the rest of the line.
func (t *track) unwanted() {
	if t.told, t.skip = max(t.told, t.bytes), 0; t.open {
		t.skip, t.quiet = maxSkip, true
	}
}

// fromLine leaves out what is before a line's start, of the newest data.
func (t *track) fromLine(p []byte) []byte {
	if t.skip == 0 {
		return p
	}
	n := min(len(p), t.skip)
	if i := bytes.IndexByte(p[:n], '\n'); i >= 0 {
		n, t.skip = i+1, 0
	} else {
		t.skip -= n
	}
	if p = p[n:]; t.quiet {
		t.told = max(t.told, t.bytes-int64(len(p)))
	}
	return p
}

// fresh leaves out what was returned before, of the newest data.
func (t *track) fresh(p []byte) []byte {
	old := t.told - (t.bytes - int64(len(p)))
	return p[max(0, min(old, int64(len(p)))):]
}

// End is how many bytes of each stream the log in dir has had, and when the last came.
func End(dir string) (Position, time.Time, error) {
	at, err := lastPlace(dir)
	if err != nil {
		return Position{}, time.Time{}, err
	}
	seqs, err := segments(dir)
	if err != nil {
		return Position{}, time.Time{}, err
	}
	var last time.Time
	if len(seqs) > 0 {
		if fi, err := os.Stat(segmentPath(dir, seqs[len(seqs)-1])); err == nil {
			last = fi.ModTime()
		}
	}
	return Position{at[Stdout].bytes, at[Stderr].bytes}, last, nil
}

// jump places the reader at the newest segment whose marks say that it begins where it
// may; without one it stays at the oldest.
func (r *Reader) jump(may func(at [Stderr + 1]place) bool) error {
	seqs, err := segments(r.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, seq := range slices.Backward(seqs) {
		s, err := openSegment(r.dir, seq)
		if errors.Is(err, os.ErrNotExist) {
			continue // rotated away
		}
		if err != nil {
			return err
		}
		at, marked := s.begins()
		if !marked || !may(at) || s.seek(0) != nil {
			s.close()
			continue
		}
		r.leave()
		r.cur = s
		for i := range at {
			r.at[i].place = at[i]
		}
		return nil
	}
	return nil
}

// begins is where both streams are at the start of a segment, if its marks say so.
func (s *segment) begins() (at [Stderr + 1]place, marked bool) {
	for want := Stdout; want <= Stderr; want++ {
		f, err := s.next()
		if err != nil || !f.isMark() || f.stream != want {
			return at, false
		}
		n := f.Time.UnixNano()
		at[want] = place{n >> 1, n&1 != 0}
	}
	return at, true
}

// lastPlace is where the log in dir ends.
func lastPlace(dir string) (at [Stderr + 1]place, err error) {
	r := &Reader{dir: dir}
	defer r.leave()
	if err := r.jump(func([Stderr + 1]place) bool { return true }); err != nil {
		return at, err
	}
	for {
		if _, err := r.step(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return at, err
		}
	}
	for s := range at {
		at[s] = r.at[s].place
	}
	return at, nil
}
