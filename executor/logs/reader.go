package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Options chooses what a Reader returns.
type Options struct {
	Follow bool // go on until the end mark
	Tail   int  // only the last so many lines; 0 = all, below 0 = none of what is there
	Stdout bool // with neither Stdout nor Stderr: both
	Stderr bool
}

func (o Options) wants(s Stream) bool {
	return s == Stdout && (o.Stdout || !o.Stderr) || s == Stderr && (o.Stderr || !o.Stdout)
}

// Entry is one piece of a log, as the task wrote it. It may hold several lines
// or a part of one.
type Entry struct {
	Time   time.Time
	Stream Stream
	Data   []byte // valid until the next call of Next
}

// CorruptError tells which log file is damaged, and where.
type CorruptError struct {
	File   string
	Offset int64
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("log file %s is damaged at byte %d: what follows in it is lost; remove the file to be rid of this message", e.File, e.Offset)
}

// frame is an entry with the place after it.
type frame struct {
	Entry
	stream Stream
	end    int64
}

// segment reads one file.
type segment struct {
	path string
	seq  int
	file *os.File
	buf  *bufio.Reader
	off  int64 // after the last whole frame
	skip int   // to discard before the next frame
}

func openSegment(dir string, seq int) (*segment, error) {
	path := segmentPath(dir, seq)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &segment{path: path, seq: seq, file: f, buf: bufio.NewReaderSize(f, maxFrame+headerSize)}, nil
}

func (s *segment) close() { s.file.Close() }

// seek makes off the place of the next frame.
func (s *segment) seek(off int64) error {
	_, err := s.file.Seek(off, io.SeekStart)
	s.buf.Reset(s.file)
	s.off, s.skip = off, 0
	return err
}

// next returns the next whole frame; io.EOF if there is none yet.
func (s *segment) next() (frame, error) {
	if _, err := s.buf.Discard(s.skip); err != nil {
		return frame{}, err
	}
	s.skip = 0
	b, err := s.buf.Peek(headerSize)
	if err != nil {
		return frame{}, err
	}
	h, ok := parseHeader(b)
	if !ok {
		return frame{}, &CorruptError{s.path, s.off}
	}
	b, err = s.buf.Peek(headerSize + h.size)
	if err != nil {
		return frame{}, err
	}
	if checksum(b) != h.sum {
		return frame{}, &CorruptError{s.path, s.off}
	}
	s.skip = len(b)
	s.off += int64(len(b))
	return frame{Entry: Entry{Time: h.time, Stream: h.stream, Data: b[headerSize:]}, stream: h.stream, end: s.off}, nil
}

// Reader reads the log of one attempt from its oldest segment on.
type Reader struct {
	dir   string
	opts  Options
	cur   *segment
	watch *watch
	trim  int // lines to leave out of the first entry
	ended bool
}

// Open reads the log in dir. A missing folder is an empty log; with Follow it
// is waited for.
func Open(dir string, opts Options) (*Reader, error) {
	r := &Reader{dir: dir, opts: opts}
	if opts.Tail != 0 {
		if err := r.seekTail(); err != nil {
			r.Close()
			return nil, err
		}
	}
	return r, nil
}

// Close releases the reader's files.
func (r *Reader) Close() error {
	if r.cur != nil {
		r.cur.close()
		r.cur = nil
	}
	if r.watch != nil {
		err := r.watch.close()
		r.watch = nil
		return err
	}
	return nil
}

// Next returns the next entry; io.EOF at the end. After a CorruptError the
// next call goes on with the next segment.
func (r *Reader) Next(ctx context.Context) (Entry, error) {
	for {
		f, err := r.step()
		switch {
		case err == nil && f.stream == end:
			r.ended = true
		case err == nil:
			r.ended = false
			if !r.opts.wants(f.stream) {
				continue
			}
			f.Data = r.cut(f.Data)
			if len(f.Data) > 0 {
				return f.Entry, nil
			}
		case !errors.Is(err, io.EOF):
			return Entry{}, err
		case r.ended || !r.opts.Follow:
			return Entry{}, io.EOF
		default:
			if err := r.wait(ctx); err != nil {
				return Entry{}, err
			}
		}
	}
}

func (r *Reader) cut(p []byte) []byte {
	for ; r.trim > 0; r.trim-- {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return p
		}
		p = p[i+1:]
	}
	return p
}

// step reads one frame, going over to the next segment where one ends.
func (r *Reader) step() (frame, error) {
	for {
		if r.cur != nil {
			f, err := r.cur.next()
			if err == nil {
				return f, nil
			}
			var bad *CorruptError
			if errors.As(err, &bad) {
				err = r.leave(bad)
				return frame{}, err
			}
			if !errors.Is(err, io.EOF) {
				return frame{}, fmt.Errorf("read %s: %w", r.cur.path, err)
			}
		}
		moved, err := r.advance()
		if err != nil {
			return frame{}, err
		}
		if !moved {
			return frame{}, io.EOF
		}
	}
}

// leave makes the damaged segment one with nothing more in it.
func (r *Reader) leave(bad *CorruptError) error {
	if _, err := r.cur.file.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	r.cur.buf.Reset(bytes.NewReader(nil))
	r.cur.skip = 0
	r.ended = true // nobody can follow a log whose end is unreadable
	return bad
}

// advance opens the next segment if there is one. A segment that has a
// successor gets no more frames, but may have got some since it was last read.
func (r *Reader) advance() (bool, error) {
	seqs, err := segments(r.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	for _, seq := range seqs {
		if r.cur != nil && seq <= r.cur.seq {
			continue
		}
		if r.cur != nil && r.cur.more() {
			return true, nil
		}
		if r.cur != nil && r.cur.buf.Buffered() > 0 { // only the last segment may end within a frame
			return false, r.leave(&CorruptError{r.cur.path, r.cur.off})
		}
		s, err := openSegment(r.dir, seq)
		if errors.Is(err, os.ErrNotExist) {
			continue // rotated away
		}
		if err != nil {
			return false, err
		}
		if r.cur != nil {
			r.cur.close()
		}
		r.cur = s
		return true, nil
	}
	return false, nil
}

// more tells whether a whole frame can be read from what is there.
func (s *segment) more() bool {
	b, err := s.buf.Peek(headerSize)
	if err != nil {
		return false
	}
	h, ok := parseHeader(b)
	if !ok {
		return true // next reports it
	}
	_, err = s.buf.Peek(headerSize + h.size)
	return err == nil
}

// tailMark is a frame with the lines that end in it.
type tailMark struct {
	seq   int
	off   int64
	lines int
}

// seekTail places the reader at the last opts.Tail lines.
func (r *Reader) seekTail() error {
	var marks []tailMark
	lines, open := 0, false // open: the last line has no newline yet
	for {
		f, err := r.step()
		var bad *CorruptError
		if errors.As(err, &bad) {
			continue // Next names it if what is wanted lies behind it
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		r.ended = f.stream == end
		if !r.opts.wants(f.stream) || r.opts.Tail < 0 {
			continue
		}
		n := bytes.Count(f.Data, []byte{'\n'})
		marks = append(marks, tailMark{r.cur.seq, f.end - int64(headerSize+len(f.Data)), n})
		lines += n
		open = len(f.Data) > 0 && f.Data[len(f.Data)-1] != '\n'
		for len(marks) > 1 && lines-marks[0].lines > r.opts.Tail {
			lines -= marks[0].lines
			marks = marks[1:]
		}
	}
	if r.opts.Tail < 0 || len(marks) == 0 {
		return nil
	}
	r.trim = max(0, lines-r.opts.Tail)
	if open {
		r.trim = max(0, lines+1-r.opts.Tail)
	}
	for len(marks) > 1 && r.trim > marks[0].lines {
		r.trim -= marks[0].lines
		marks = marks[1:]
	}
	r.ended = false
	if r.cur.seq != marks[0].seq {
		s, err := openSegment(r.dir, marks[0].seq)
		if errors.Is(err, os.ErrNotExist) {
			return nil // rotated away this moment: new lines only
		}
		if err != nil {
			return err
		}
		r.cur.close()
		r.cur = s
	}
	return r.cur.seek(marks[0].off)
}
