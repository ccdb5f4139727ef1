package node

import (
	"bytes"
	"context"
	"io"
	"sync"
)

// feed is what a command reads. Who writes waits until it has read, as at a pipe, but no
// longer than it wants to.
type feed struct {
	pieces chan []byte
	rest   []byte // of the piece that was read last

	once, onceGone sync.Once
	over           chan struct{} // closed: no more comes
	gone           chan struct{} // closed: nobody reads any more
}

func newFeed() *feed {
	return &feed{pieces: make(chan []byte), over: make(chan struct{}), gone: make(chan struct{})}
}

// Read is the command's.
func (f *feed) Read(p []byte) (int, error) {
	for len(f.rest) == 0 {
		select {
		case f.rest = <-f.pieces:
		case <-f.over:
			return 0, io.EOF
		case <-f.gone:
			return 0, io.ErrClosedPipe
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// Close has nobody wait for who does not read any more.
func (f *feed) Close() error {
	f.onceGone.Do(func() { close(f.gone) })
	return nil
}

func (f *feed) write(ctx context.Context, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	select {
	case <-f.over:
		return 0, io.ErrClosedPipe
	case <-f.gone:
		return 0, io.ErrClosedPipe
	default:
	}
	select {
	case f.pieces <- bytes.Clone(p):
		return len(p), nil
	case <-f.gone:
		return 0, io.ErrClosedPipe
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// end is that no more comes.
func (f *feed) end() { f.once.Do(func() { close(f.over) }) }
