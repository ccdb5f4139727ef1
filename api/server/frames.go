package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	frameStdin byte = iota
	frameStdout
	frameStderr
	frameResize // rows and columns, two bytes each
	frameExit   // the exit code, four bytes
	frameStdinEnd
	frameSignal // for the command: its number, one byte
	frameWindow // for the caller: how many bytes of input more it may send, four bytes
)

// passable are the signals that a caller may send its command.
var passable = []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM}

const (
	frameHeader = 5
	maxFrame    = 64 << 10
)

// frameWriter sends what is written as frames of one type.
type frameWriter struct {
	conn *frameConn
	kind byte
}

// frameConn is the server's end of an exec connection.
type frameConn struct {
	mu sync.Mutex // one frame at a time
	w  io.Writer
	// deadline bounds how long the caller may take for a frame.
	deadline func(time.Time) error
	patience time.Duration
	failed   func(error) // told that the caller takes no more
}

func (c *frameConn) send(kind byte, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline(time.Now().Add(c.patience)) // the write fails if the connection does
	b := make([]byte, frameHeader, frameHeader+len(p))
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(len(p)))
	_, err := c.w.Write(append(b, p...))
	if err != nil {
		c.failed(err)
	}
	return err
}

func (w frameWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), maxFrame)]
		if err := w.conn.send(w.kind, part); err != nil {
			return n, err
		}
		n, p = n+len(part), p[len(part):]
	}
	return n, nil
}

// readFrame reads one frame into buf, which has room for the largest.
func readFrame(r io.Reader, buf []byte) (kind byte, payload []byte, err error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(h[1:])
	if size > maxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes, at most %d are allowed", size, maxFrame)
	}
	_, err = io.ReadFull(r, buf[:size])
	return h[0], buf[:size], err
}

// receive hands the caller's frames on until the connection ends. The end of
// the connection is the end of stdin.
func receive(r io.Reader, stdin io.WriteCloser, resize chan<- Size, signals chan<- syscall.Signal) error {
	buf := make([]byte, maxFrame)
	for {
		kind, p, err := readFrame(r, buf)
		if err != nil {
			stdin.Close()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		switch kind {
		case frameStdin:
			stdin.Write(p) // fails once the command reads no more: then the rest is dropped
		case frameStdinEnd:
			stdin.Close()
		case frameResize:
			if len(p) != 4 {
				return fmt.Errorf("a resize frame of %d bytes, not 4", len(p))
			}
			select {
			case resize <- Size{binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])}:
			default: // the next one tells the size, too
			}
		case frameSignal:
			if len(p) != 1 || !slices.Contains(passable, syscall.Signal(p[0])) {
				return fmt.Errorf("a signal frame of %d bytes that names none of %v", len(p), passable)
			}
			select {
			case signals <- syscall.Signal(p[0]):
			default: // there are more of them than anybody needs
			}
		default:
			return fmt.Errorf("a frame of the unknown type %d", kind)
		}
	}
}
