package history

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/mesita/mesita/api"
)

const (
	preamble   = "mesita events 1\n"
	frameMagic = 0x3154_5645 // EVT1
	headerSize = 64
	maxBody    = 32 << 20 // of one frame, as it is on disk
	maxRaw     = 64 << 20 // and when it is unpacked
)

// header is what a frame begins with.
type header struct {
	Bloom, Packed, Raw uint32 // bytes of the filter, and of the events
	Count              uint32
	BodySum            uint32 // CRC-32C of filter and packed events
	First, Last        uint64 // indexes
	Oldest, Newest     int64  // times, ns since 1970
	FilterSum          uint32 // CRC-32C of the filter alone, which is read without the rest; 0 = not known
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h *header) append(b []byte) []byte {
	from := len(b)
	le := binary.LittleEndian
	b = le.AppendUint32(b, frameMagic)
	for _, v := range []uint32{h.Bloom, h.Packed, h.Raw, h.Count, h.BodySum} {
		b = le.AppendUint32(b, v)
	}
	for _, v := range []uint64{h.First, h.Last, uint64(h.Oldest), uint64(h.Newest)} {
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, h.FilterSum)
	return le.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

var errDamaged = errors.New("damaged")

func parseHeader(b []byte) (h header, err error) {
	le := binary.LittleEndian
	if le.Uint32(b) != frameMagic || le.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli) {
		return h, errDamaged
	}
	for i, p := range []*uint32{&h.Bloom, &h.Packed, &h.Raw, &h.Count, &h.BodySum} {
		*p = le.Uint32(b[4+4*i:])
	}
	h.First, h.Last = le.Uint64(b[24:]), le.Uint64(b[32:])
	h.Oldest, h.Newest = int64(le.Uint64(b[40:])), int64(le.Uint64(b[48:]))
	h.FilterSum = le.Uint32(b[56:])
	if h.Bloom == 0 || h.Bloom > maxBloom || h.Packed > maxBody || h.Raw > maxRaw || h.First > h.Last {
		return h, errDamaged
	}
	return h, nil
}

func (h *header) size() int64 { return headerSize + int64(h.Bloom) + int64(h.Packed) }

// frame is one that was found in a segment.
type frame struct {
	header
	at int64
}

// window reads small pieces of a file that lie close together.
type window struct {
	r    io.ReaderAt
	size int64 // what may be read
	buf  [4096]byte
	at   int64
	n    int
}

// read returns n bytes at an offset; they are valid until the next read.
func (w *window) read(at int64, n int) ([]byte, error) {
	if at+int64(n) > w.size {
		return nil, io.ErrUnexpectedEOF
	}
	if n > len(w.buf) {
		b := make([]byte, n)
		_, err := w.r.ReadAt(b, at)
		return b, err
	}
	if at < w.at || at+int64(n) > w.at+int64(w.n) {
		got, err := w.r.ReadAt(w.buf[:min(int64(len(w.buf)), w.size-at)], at)
		if got < n {
			w.n = 0
			return nil, errors.Join(err, io.ErrUnexpectedEOF)
		}
		w.at, w.n = at, got
	}
	return w.buf[at-w.at:][:n], nil
}

// frames calls f with each frame of a segment, and its filter when asked for,
// nil if that is damaged. It fails where the segment can no longer be read.
func (w *window) frames(blooms bool, f func(frame, bloom) error) error {
	pre, err := w.read(0, len(preamble))
	if err != nil || string(pre) != preamble {
		return errors.Join(errDamaged, err)
	}
	for at := int64(len(preamble)); at < w.size; {
		b, err := w.read(at, headerSize)
		if err != nil {
			return fmt.Errorf("at byte %d: %w", at, err)
		}
		h, err := parseHeader(b)
		if err == nil && at+h.size() > w.size {
			err = io.ErrUnexpectedEOF
		}
		var filter bloom
		if err == nil && blooms {
			filter, err = w.read(at+headerSize, int(h.Bloom))
			if h.FilterSum != 0 && h.FilterSum != crc32.Checksum(filter, castagnoli) {
				filter = nil
			}
		}
		if err != nil {
			return fmt.Errorf("at byte %d: %w", at, err)
		}
		if err := f(frame{h, at}, filter); err != nil {
			return err
		}
		at += h.size()
	}
	return nil
}

// body is what follows the header of a frame.
func (f *frame) body(r io.ReaderAt) ([]byte, error) {
	body := make([]byte, f.size()-headerSize)
	if _, err := r.ReadAt(body, f.at+headerSize); err != nil {
		return nil, err
	}
	if crc32.Checksum(body, castagnoli) != f.BodySum {
		return nil, errDamaged
	}
	return body, nil
}

// events unpacks those of a frame.
func (c *coder) events(r io.ReaderAt, f frame) ([]api.Event, error) {
	body, err := f.body(r)
	if err != nil {
		return nil, fmt.Errorf("at byte %d: %w", f.at, err)
	}
	return c.unpack(bytes.NewReader(body[f.Bloom:]), int(f.Raw))
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
