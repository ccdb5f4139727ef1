package logs

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// maxSkip is how many bytes are looked at for a line's start after some were
// missing: what has no lines goes on anywhere.
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
	why    string
}

// mark takes the place of a stream from a mark.
func (r *Reader) mark(f frame) {
	t := &r.at[f.stream]
	n := f.Time.UnixNano()
	now := place{n >> 1, n&1 != 0}
	switch {
	case t.unsure:
		t.told, t.unsure = max(t.told, now.bytes), false
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
			r.at[s].unsure, r.at[s].skip, r.at[s].quiet = true, maxSkip, false
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
	return t.leaveOut(p, n, t.quiet)
}

func (t *track) leaveOut(p []byte, n int, quiet bool) []byte {
	p = p[n:]
	if quiet {
		t.told = max(t.told, t.bytes-int64(len(p)))
	}
	return p
}

// fresh leaves out what was returned before, of the newest data.
func (t *track) fresh(p []byte) []byte {
	if t.unsure || t.bytes-int64(len(p)) >= t.told {
		return p
	}
	return p[min(int64(len(p)), t.told-(t.bytes-int64(len(p)))):]
}

// cut leaves out the lines before the last few that are wanted.
func (r *Reader) cut(t *track, p []byte) []byte {
	for r.trim > 0 && len(p) > 0 {
		n := bytes.IndexByte(p, '\n') + 1
		if n == 0 {
			return t.leaveOut(p, len(p), true)
		}
		p = t.leaveOut(p, n, true)
		r.trim--
	}
	return p
}

// stretch is a part of a log and how many lines end in it.
type stretch struct {
	seq   int
	off   int64
	size  int
	lines int
	at    [Stderr + 1]track // before it
}

// maxStretch bounds how many stretches a tail is remembered by.
const maxStretch = 64 << 10

// seekTail places the reader at the last opts.Tail lines.
func (r *Reader) seekTail() error {
	all, lines, err := r.stretches()
	if err != nil {
		return err
	}
	if r.opts.Tail < 0 || len(all) == 0 {
		for s := range r.at {
			r.at[s].told = max(r.at[s].told, r.at[s].bytes)
		}
		r.lost, r.holed = "", ""
		return nil
	}
	if lines < r.opts.Tail {
		r.rewind() // what is missing before is wanted, too
		return nil
	}
	for r.trim = lines - r.opts.Tail; len(all) > 1 && r.trim > all[0].lines; all = all[1:] {
		r.trim -= all[0].lines
	}
	return r.seek(all[0])
}

// stretches reads all that is there, and returns the last stretches that hold
// opts.Tail lines, and how many they hold. A last line without an end counts.
func (r *Reader) stretches() (all []stretch, lines int, err error) {
	open := false
	for {
		f, err := r.step()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		if f.stream == end || !r.opts.wants(f.stream) || r.opts.Tail < 0 {
			continue
		}
		t := &r.at[f.stream]
		if f.Time.Before(r.opts.Since) {
			t.unwanted()
			continue
		}
		if n := len(all); n == 0 || all[n-1].size > maxStretch || all[n-1].seq != r.cur.seq {
			all = append(all, r.stretch(f))
		}
		last := &all[len(all)-1]
		last.size += len(f.Data)
		if p := t.fromLine(f.Data); len(p) > 0 {
			n := bytes.Count(p, []byte{'\n'})
			last.lines, lines = last.lines+n, lines+n
			open = p[len(p)-1] != '\n'
		}
		for len(all) > 1 && lines-all[0].lines > r.opts.Tail {
			lines -= all[0].lines
			all = all[1:]
		}
	}
	if open {
		lines++
	}
	return all, lines, nil
}

// stretch begins with the frame that was read last.
func (r *Reader) stretch(f frame) stretch {
	b := stretch{seq: r.cur.seq, off: f.end - int64(headerSize+len(f.Data)), at: r.at}
	b.at[f.stream].bytes -= int64(len(f.Data))
	for s := range b.at {
		b.at[s].told = max(b.at[s].told, b.at[s].bytes)
	}
	return b
}

func (r *Reader) seek(to stretch) error {
	if r.cur.seq != to.seq {
		s, err := openSegment(r.dir, to.seq)
		if errors.Is(err, os.ErrNotExist) { // rotated away this moment
			for s := range r.at {
				r.at[s].told, r.at[s].why = to.at[s].told, whyRotated
			}
			r.trim = 0
			return nil
		}
		if err != nil {
			return err
		}
		r.leave()
		r.cur = s
	}
	r.at, r.ended, r.lost, r.holed = to.at, false, "", ""
	return r.cur.seek(to.off)
}

// lastPlace is where the log in dir ends.
func lastPlace(dir string) (at [Stderr + 1]place, err error) {
	r := &Reader{dir: dir}
	defer r.leave()
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
