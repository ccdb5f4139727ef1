package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// A RecordReader takes a RecordIO stream apart: each record is its length in
// decimal digits, a newline, and that many bytes.
type RecordReader struct {
	r   *bufio.Reader
	max int
	buf bytes.Buffer
}

// NewRecordReader returns a reader of records of at most max bytes.
func NewRecordReader(r io.Reader, max int) *RecordReader {
	return &RecordReader{r: bufio.NewReader(r), max: max}
}

// SetMax has the records that follow be of at most max bytes.
func (r *RecordReader) SetMax(max int) { r.max = max }

// Next returns the next record, which is valid until the next call. It returns
// io.EOF if the stream ends between records, and io.ErrUnexpectedEOF within one.
// After an error the stream cannot be read on.
func (r *RecordReader) Next() ([]byte, error) {
	n, err := r.length()
	if err != nil {
		return nil, err
	}
	// The buffer grows with what has come, not by what the length claims.
	if r.buf.Reset(); r.buf.Cap() > maxKept {
		r.buf = bytes.Buffer{}
	}
	if _, err := io.CopyN(&r.buf, r.r, int64(n)); errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	} else if err != nil {
		return nil, err
	}
	return r.buf.Bytes(), nil
}

func (r *RecordReader) length() (n int, err error) {
	for digits := 0; ; digits++ {
		c, err := r.r.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && digits > 0:
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		case c == '\n' && digits > 0:
			return n, nil
		case c < '0' || c > '9':
			return 0, fmt.Errorf("a record begins with its length in decimal digits and a newline, not with %q", c)
		}
		if n = n*10 + int(c-'0'); n > r.max || digits > 18 {
			return 0, fmt.Errorf("a record is larger than %d bytes", r.max)
		}
	}
}

// AppendRecord appends a record to b. Its readers, some of which expect one
// record in one piece, are best served if it is written at once.
func AppendRecord(b, record []byte) []byte {
	return append(AppendLength(b, len(record)), record...)
}

// AppendLength appends what is before a record of n bytes.
func AppendLength(b []byte, n int) []byte {
	return append(strconv.AppendInt(b, int64(n), 10), '\n')
}

// A RecordWriter writes messages as records, each in one Write.
type RecordWriter struct {
	w      io.Writer
	format Format
	buf    []byte
}

// NewRecordWriter returns a writer of messages in the form f.
func NewRecordWriter(w io.Writer, f Format) *RecordWriter { return &RecordWriter{w: w, format: f} }

// lengthSpace is what is left free for length and newline before a message.
const lengthSpace = 20

// Write writes the message that m points to.
func (w *RecordWriter) Write(m any) error {
	b, err := Append(w.format, append(w.buf[:0], make([]byte, lengthSpace)...), m)
	if err != nil {
		return err
	}
	w.buf = b
	var digits [lengthSpace]byte
	head := append(strconv.AppendInt(digits[:0], int64(len(b)-lengthSpace), 10), '\n')
	from := lengthSpace - len(head)
	copy(b[from:], head)
	_, err = w.w.Write(b[from:])
	if cap(w.buf) > maxKept {
		w.buf = nil
	}
	return err
}

// maxKept is the largest buffer that is kept for the next message.
const maxKept = 256 << 10
