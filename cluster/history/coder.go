package history

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"github.com/mesita/mesita/api"
)

// maxEvent bounds one event; of a longer one the task is left out.
const maxEvent = 1 << 20

// missedID is in the filter of a frame that says what is missing: that may have
// been about anything.
const missedID = "\x00missed"

// coder turns events into bytes and back.
type coder struct {
	wire   wire
	flate  *flate.Writer
	packed bytes.Buffer
	inf    io.ReadCloser
}

func newCoder() *coder { return &coder{inf: flate.NewReader(bytes.NewReader(nil))} }

// batch is events on their way to the disk.
type batch struct {
	header
	raw    []byte // a length and an encoding for each
	hashes []uint64
}

// add appends an event.
func (c *coder) add(b *batch, e *api.Event) error {
	if b.Count == 0 {
		c.wire.before = api.Resources{}
	}
	one, err := c.wire.encode(e)
	if err == nil && len(one) > maxEvent {
		short := *e
		short.Task, short.Message = nil, short.Message[:min(len(short.Message), 1000)]
		one, err = c.wire.encode(&short)
	}
	if err != nil {
		return fmt.Errorf("encode event %d: %w", e.Index, err)
	}
	b.raw = binary.AppendUvarint(b.raw, uint64(len(one)))
	b.raw = append(b.raw, one...)
	at := nanos(e.Time)
	if b.Count == 0 {
		b.First, b.Oldest, b.Newest = e.Index, at, at
	}
	b.Count, b.Last, b.Oldest, b.Newest = b.Count+1, e.Index, min(b.Oldest, at), max(b.Newest, at)
	e.Subjects(func(id string) { b.hashes = append(b.hashes, hash(id)) })
	if e.Kind == api.EventsMissed {
		b.hashes = append(b.hashes, hash(missedID))
	}
	return nil
}

// frame is a batch as it is on disk.
func (c *coder) frame(b *batch) ([]byte, error) {
	c.packed.Reset()
	if c.flate == nil {
		w, err := flate.NewWriter(&c.packed, flate.BestSpeed)
		if err != nil {
			return nil, err
		}
		c.flate = w
	}
	c.flate.Reset(&c.packed)
	if _, err := c.flate.Write(b.raw); err != nil {
		return nil, err
	}
	if err := c.flate.Close(); err != nil {
		return nil, err
	}
	slices.Sort(b.hashes)
	b.hashes = slices.Compact(b.hashes)
	filter := newBloom(b.hashes)
	h := b.header
	h.Bloom, h.Packed, h.Raw = uint32(len(filter)), uint32(c.packed.Len()), uint32(len(b.raw))
	h.FilterSum = crc32.Checksum(filter, castagnoli)
	h.BodySum = crc32.Update(h.FilterSum, castagnoli, c.packed.Bytes())
	out := h.append(make([]byte, 0, h.size()))
	return append(append(out, filter...), c.packed.Bytes()...), nil
}

// reset makes a batch empty; its buffers stay.
func (b *batch) reset() { *b = batch{raw: b.raw[:0], hashes: b.hashes[:0]} }

func (c *coder) unpack(packed io.Reader, size int) ([]api.Event, error) {
	if err := c.inf.(flate.Resetter).Reset(packed, nil); err != nil {
		return nil, err
	}
	raw := make([]byte, size)
	if _, err := io.ReadFull(c.inf, raw); err != nil {
		return nil, fmt.Errorf("%w: %v", errDamaged, err)
	}
	c.wire.before = api.Resources{}
	var out []api.Event
	for len(raw) > 0 {
		n, k := binary.Uvarint(raw)
		if k <= 0 || n > math.MaxInt32 || int(n) > len(raw)-k {
			return nil, errDamaged
		}
		e, err := c.wire.decode(raw[k : k+int(n)])
		if err != nil {
			return nil, fmt.Errorf("%w: %v", errDamaged, err)
		}
		out = append(out, e)
		raw = raw[k+int(n):]
	}
	return out, nil
}
