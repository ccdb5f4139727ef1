package server

import (
	"encoding/binary"
	"io"
	"sync"
)

// stdinWindow is how many bytes of its input a caller may send beyond what its
// command has read. They are kept here, so that the connection is read on: what
// else comes on it, and its end, must not wait for a command that reads nothing.
const stdinWindow = 256 << 10

// inflow is the input of a command between its caller and the command.
type inflow struct {
	mu      sync.Mutex
	changed sync.Cond
	b       []byte
	ended   bool // no more comes
	closed  bool // nobody reads
}

func newInflow() *inflow {
	f := &inflow{}
	f.changed.L = &f.mu
	return f
}

// Write keeps p. It waits if a caller sends more than its window: one that knows
// of none.
func (f *inflow) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.b)+len(p) > stdinWindow+maxFrame && !f.closed {
		f.changed.Wait()
	}
	if !f.closed {
		f.b = append(f.b, p...)
		f.changed.Broadcast()
	}
	return len(p), nil
}

// Close is the end of the input, once what came before is read.
func (f *inflow) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.changed.Broadcast()
	return nil
}

// stop is that nobody reads any more.
func (f *inflow) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed, f.b = true, nil
	f.changed.Broadcast()
}

// take waits for what there is, at most a frame of it; nil at the end.
func (f *inflow) take() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.b) == 0 && !f.ended && !f.closed {
		f.changed.Wait()
	}
	n := min(len(f.b), maxFrame)
	p := f.b[:n:n]
	if f.b = f.b[n:]; len(f.b) == 0 {
		f.b = nil
	}
	f.changed.Broadcast()
	return p
}

// pump gives the command its input, and tells the caller how much more it may
// send. What a command does not read any more is dropped.
func (f *inflow) pump(stdin *io.PipeWriter, out *frameConn) {
	defer stdin.Close()
	read := 0
	for {
		p := f.take()
		if len(p) == 0 {
			return
		}
		_, _ = stdin.Write(p) // it fails once the command reads no more
		if read += len(p); read >= stdinWindow/4 {
			if out.send(frameWindow, binary.BigEndian.AppendUint32(nil, uint32(read))) != nil {
				return
			}
			read = 0
		}
	}
}
