package keeper

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
)

// terminalSize is what a terminal has at first of which nobody says how large it is.
var terminalSize = Size{24, 80}

// sizeOf is how large the terminal of a start is at first.
func sizeOf(t *api.Terminal) Size {
	if t.Rows <= 0 || t.Cols <= 0 || t.Rows > math.MaxUint16 || t.Cols > math.MaxUint16 {
		return terminalSize
	}
	return Size{uint16(t.Rows), uint16(t.Cols)}
}

// ErrNoTerminal says that the attempt was started without one.
var ErrNoTerminal = errors.New("the attempt has no terminal")

// terminal hands our end of an attempt's terminal to who asks for it, over a connection of
// its own. It stays open here: what is printed goes into the log.
func (s *server) terminal(c *conn, m *message) error {
	t, err := s.find(m.ID)
	if err == nil && t.terminal == nil {
		err = fmt.Errorf("%s: %w", m.ID, ErrNoTerminal)
	}
	b, encodeErr := encode(nil, &message{Op: opAnswer, Seq: m.Seq, Error: toWire(err)})
	if err != nil || encodeErr != nil {
		_, _ = c.sock.Write(b) // whoever asked may have left
		return encodeErr
	}
	raw, err := t.terminal.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) { _, _, sent = c.sock.WriteMsgUnix(b, unix.UnixRights(int(fd)), nil) })
	if err != nil { // its last process closed it
		b, _ = encode(nil, &message{Op: opAnswer, Seq: m.Seq, Error: toWire(fmt.Errorf("%s: %w", m.ID, ErrNotRunning))}) // it always fits
		_, sent = c.sock.Write(b)
	}
	return sent
}

// Terminal is what somebody types at who sits before an attempt's terminal.
type Terminal struct{ streams }

// Write types. It waits for the attempt to read, until Close.
func (t *Terminal) Write(p []byte) (int, error) { return t.in.Write(p) }

// Resize says how large it is, by which its programs are told.
func (t *Terminal) Resize(s Size) { t.resize(s) }

// Close leaves; the attempt and its terminal stay.
func (t *Terminal) Close() error { return t.in.Close() }

// Terminal opens the terminal of a running attempt.
func (c *Client) Terminal(ctx context.Context, id string) (*Terminal, error) {
	p := c.holderOf(id)
	if p == nil {
		p = c.peers[0]
	}
	k, _, err := dialWithin(p.cfg.Dir, false, spawnTime)
	if err != nil {
		return nil, fmt.Errorf("reach the keeper: %w", err)
	}
	defer k.sock.Close()
	stop := context.AfterFunc(ctx, func() { _ = k.sock.SetDeadline(time.Unix(1, 0)) }) // a socket has deadlines
	defer stop()
	b, err := encode(nil, &message{Op: opTerminal, ID: id})
	if err == nil {
		_, err = k.sock.Write(b)
	}
	var m *message
	if err == nil {
		m, err = k.awaited(opAnswer)
	}
	files := k.takeFiles()
	switch {
	case err != nil:
		err = fmt.Errorf("ask the keeper for a terminal: %w", err)
	case m.Error != nil:
		err = m.Error.asError()
	case len(files) != 1:
		err = fmt.Errorf("the keeper sent %d files instead of a terminal", len(files))
	}
	if err != nil {
		for _, f := range files {
			f.Close()
		}
		return nil, err
	}
	return &Terminal{streams{in: files[0]}}, nil
}
