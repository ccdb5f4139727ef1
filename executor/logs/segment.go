package logs

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
)

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

func (f *frame) isMark() bool { return f.stream != end && len(f.Data) == 0 }

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

// empty makes the segment one with nothing more in it.
func (s *segment) empty() error {
	_, err := s.file.Seek(0, io.SeekEnd)
	s.buf.Reset(bytes.NewReader(nil))
	s.skip = 0
	return err
}

// more reports whether a whole frame can be read from what is there.
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
