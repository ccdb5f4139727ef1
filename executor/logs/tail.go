package logs

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// stretch is a part of a log, and how many lines end in it.
type stretch struct {
	seq   int
	off   int64
	size  int
	lines int
	at    [Stderr + 1]track // before it
}

const (
	minStretch   = 64 << 10
	maxStretches = 2048 // a log is remembered by; beyond it they are longer
)

// seekTail places the reader before the last opts.Tail lines: those of both
// streams that end last, each from its beginning, which may be far before what
// the other stream wrote last.
func (r *Reader) seekTail() error {
	all, lines, open, err := r.stretches()
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
	if lines+open < r.opts.Tail {
		r.rewind() // what is missing before is wanted, too
		return nil
	}
	n, leave := 0, lines-max(0, r.opts.Tail-open)
	for ; n < len(all)-1 && leave >= all[n].lines; n++ {
		leave -= all[n].lines
	}
	from, err := r.lineStarts(all[n], leave)
	if err != nil {
		return r.seekFailed(err)
	}
	for n > 0 && (r.opts.wants(Stdout) && all[n].at[Stdout].bytes > from[Stdout] || r.opts.wants(Stderr) && all[n].at[Stderr].bytes > from[Stderr]) {
		n--
	}
	if err := r.seek(all[n]); err != nil {
		return r.seekFailed(err)
	}
	for s := range r.at {
		t := &r.at[s]
		if t.told = from[s]; !t.unsure {
			t.told = max(t.told, r.opts.after(Stream(s)))
		}
	}
	return nil
}

// seekFailed begins with what is left if the last lines were rotated away this
// moment.
func (r *Reader) seekFailed(err error) error {
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, io.EOF) {
		return err
	}
	r.rewind()
	return nil
}

// stretches reads all that is there, as stretches and how many lines end in
// them, and how many have no end yet, which is one of a stream.
func (r *Reader) stretches() (all []stretch, lines, open int, err error) {
	size := minStretch
	for {
		f, err := r.step()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, 0, err
		}
		if !r.counts(f) || r.opts.Tail < 0 {
			continue
		}
		if n := len(all); n == maxStretches {
			all, size = halve(all), 2*size
		}
		if n := len(all); n == 0 || all[n-1].size > size {
			all = append(all, r.stretch(f))
		}
		n := r.pass(f, -1)
		last := &all[len(all)-1]
		last.size, last.lines, lines = last.size+len(f.Data), last.lines+n, lines+n
	}
	for s := Stdout; s <= Stderr; s++ {
		if r.opts.wants(s) && r.at[s].line < r.at[s].bytes {
			open++
		}
	}
	return all, lines, open, nil
}

// counts reports whether the lines of a frame count.
func (r *Reader) counts(f frame) bool {
	if f.stream == end || !r.opts.wants(f.stream) {
		return false
	}
	if t := &r.at[f.stream]; f.Time.Before(r.opts.Since) {
		t.unwanted()
		t.line = t.bytes
		return false
	}
	return true
}

// pass keeps where the newest line of a stream begins over a frame, and returns
// how many lines end in it; over no more than most lines unless that is below 0.
func (r *Reader) pass(f frame, most int) (n int) {
	t := &r.at[f.stream]
	p := t.fromLine(f.Data)
	if len(p) < len(f.Data) {
		t.line = t.bytes - int64(len(p))
	}
	for ; n != most; n++ {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		p = p[i+1:]
		t.line = t.bytes - int64(len(p))
	}
	return n
}

// stretch begins with the frame that was read last.
func (r *Reader) stretch(f frame) stretch {
	b := stretch{seq: r.cur.seq, off: f.end - int64(headerSize+len(f.Data)), at: r.at}
	b.at[f.stream].bytes -= int64(len(f.Data))
	return b
}

// halve makes stretches of two each.
func halve(all []stretch) []stretch {
	for i := 0; i < len(all); i += 2 {
		b := all[i]
		if i+1 < len(all) {
			b.size, b.lines = b.size+all[i+1].size, b.lines+all[i+1].lines
		}
		all[i/2] = b
	}
	return all[:(len(all)+1)/2]
}

// lineStarts is where the first line of each stream begins that ends after so
// many more lines from the start of a stretch on have ended.
func (r *Reader) lineStarts(b stretch, leave int) (from [Stderr + 1]int64, err error) {
	if err := r.seek(b); err != nil {
		return from, err
	}
	for leave > 0 {
		f, err := r.step()
		if err != nil {
			return from, err
		}
		if r.counts(f) {
			n := r.pass(f, leave)
			leave -= n
		}
	}
	for s := range from {
		from[s] = r.at[s].line
	}
	return from, nil
}

func (r *Reader) seek(to stretch) error {
	if r.cur.seq != to.seq {
		s, err := openSegment(r.dir, to.seq)
		if err != nil {
			return err
		}
		r.leave()
		r.cur = s
	}
	r.at, r.ended, r.lost, r.holed = to.at, false, "", ""
	return r.cur.seek(to.off)
}
