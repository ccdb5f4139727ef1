package client

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/mesita/mesita/api"
)

// The frames of an exec connection: a type, a length of four bytes, a payload.
const (
	frameStdin byte = iota
	frameStdout
	frameStderr
	frameResize
	frameExit
	frameStdinEnd
	frameSignal
	frameWindow
	maxFrame = 64 << 10
)

// Size is that of a terminal.
type Size struct{ Rows, Cols uint16 }

// ExecOptions is a command to run beside a task, and its streams.
type ExecOptions struct {
	Command []string
	TTY     bool
	Size    Size // at first
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Resize  <-chan Size
	// Signals are passed on: SIGHUP, SIGINT, SIGQUIT, SIGTERM. One that cannot be,
	// as the server is of an older version and the command does not read its input,
	// hangs the command up.
	Signals <-chan syscall.Signal
}

// maxCommand is how long a command may be as part of an address, of which servers
// take 64 KiB with all that comes with it.
const maxCommand = 60 << 10

// sendable reports whether a command arrives as it is.
func sendable(command []string) error {
	for i, word := range command {
		if !utf8.ValidString(word) {
			return api.FieldErrorf("cmd", "word %d, %q, is not valid UTF-8, and would arrive as another: put it in a script, or send it to one by standard input", i+1, word)
		}
	}
	if n := len(url.Values{"cmd": command}.Encode()); n > maxCommand {
		return api.FieldErrorf("cmd", "is %d bytes long as it is sent, at most %d are allowed: put it in a script, or send it to one by standard input", n, maxCommand)
	}
	return nil
}

// Exec runs a command in a running task's namespaces and slice, and returns
// its exit code. It does not wait for Stdin once the command has ended.
func (c *Client) Exec(ctx context.Context, task string, o ExecOptions) (int, error) {
	q := url.Values{"cmd": o.Command}
	if err := sendable(o.Command); err != nil {
		return 0, err
	}
	if o.TTY {
		q.Set("tty", "1")
		q.Set("rows", strconv.Itoa(int(max(o.Size.Rows, 1))))
		q.Set("cols", strconv.Itoa(int(max(o.Size.Cols, 1))))
	}
	res, err := c.try(ctx, request{method: http.MethodPost, path: "/v1/tasks/" + url.PathEscape(task) + "/exec?" + q.Encode(),
		header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"mesita-exec"}}, once: true})
	if err != nil {
		return 0, err
	}
	conn, ok := res.Body.(io.ReadWriteCloser)
	if res.StatusCode != http.StatusSwitchingProtocols || !ok {
		_ = res.Body.Close() // it is of no use
		return 0, api.Errorf(api.CodeFailed, "the server answered %s instead of a connection", res.Status)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends the reads below
	defer stop()
	w := newFrames(conn, res.Header.Get("Mesita-Window"))
	go w.copyStdin(o.Stdin)
	done := make(chan struct{})
	defer close(done)
	defer w.grant(math.MaxInt32) // or copyStdin would wait for ever
	go w.resizes(o.Resize, done)
	go w.signals(o.Signals, done, func() { _ = conn.Close() }) // ends the reads below
	code, err := receive(bufio.NewReader(conn), o.Stdout, o.Stderr, w.grant)
	if api.ErrorCode(err) == api.CodeUnavailable && ctx.Err() == nil {
		if denied := c.denied(ctx); denied != nil {
			return 0, denied
		}
	}
	return code, err
}

// denied is why this client may do nothing any more, which ends what it has
// opened; nil if it may or nobody knows.
func (c *Client) denied(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, whoTimeout)
	defer cancel()
	if err := c.call(ctx, http.MethodGet, "/v1/whoami", nil, nil); api.ErrorCode(err) == api.CodeNotAllowed {
		return err
	}
	return nil
}

// whoTimeout is how long it is tried to find out why a connection broke off.
const whoTimeout = 3 * time.Second

type frames struct {
	mu sync.Mutex
	w  io.Writer

	may    sync.Mutex // of window
	more   sync.Cond
	window int // bytes of input that may be sent
}

// newFrames is for a server that grants so many bytes of input; "": any number.
func newFrames(w io.Writer, window string) *frames {
	f := &frames{w: w, window: math.MaxInt}
	f.more.L = &f.may
	if n, err := strconv.Atoi(window); err == nil && n > 0 {
		f.window = n
	}
	return f
}

// grant lets so many bytes more be sent.
func (f *frames) grant(n int) {
	f.may.Lock()
	defer f.may.Unlock()
	if f.window < math.MaxInt-n {
		f.window += n
	}
	f.more.Broadcast()
}

// room waits until some may be sent, and tells how many of at most so many.
func (f *frames) room(most int) int {
	f.may.Lock()
	defer f.may.Unlock()
	for f.window <= 0 {
		f.more.Wait()
	}
	return min(most, f.window)
}

func (f *frames) sent(n int) {
	f.may.Lock()
	defer f.may.Unlock()
	if f.window != math.MaxInt {
		f.window -= n
	}
}

func (f *frames) send(kind byte, p []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := make([]byte, 5, 5+len(p))
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(len(p)))
	_, err := f.w.Write(append(b, p...))
	return err
}

func (f *frames) copyStdin(r io.Reader) {
	buf := make([]byte, 32<<10)
	for r != nil {
		n, err := r.Read(buf[:f.room(len(buf))])
		f.sent(n)
		if n > 0 && f.send(frameStdin, buf[:n]) != nil {
			return
		}
		if err != nil {
			break
		}
	}
	_ = f.send(frameStdinEnd, nil) // the command may have ended
}

func (f *frames) resizes(sizes <-chan Size, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case s, ok := <-sizes:
			if !ok {
				return
			}
			p := binary.BigEndian.AppendUint16(nil, s.Rows)
			if f.send(frameResize, binary.BigEndian.AppendUint16(p, s.Cols)) != nil {
				return
			}
		}
	}
}

// signalTime is how long a signal may take to leave.
const signalTime = 2 * time.Second

func (f *frames) signals(in <-chan syscall.Signal, done <-chan struct{}, hangUp func()) {
	for {
		select {
		case <-done:
			return
		case sig, ok := <-in:
			if !ok {
				return
			}
			stuck := time.AfterFunc(signalTime, hangUp)
			err := f.send(frameSignal, []byte{byte(sig)})
			stuck.Stop()
			if err != nil {
				return
			}
		}
	}
}

// receive writes out what the command prints, until its exit code comes.
func receive(r io.Reader, stdout, stderr io.Writer, grant func(int)) (int, error) {
	buf := make([]byte, maxFrame)
	for {
		var h [5]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return 0, api.Errorf(api.CodeUnavailable, "the connection to the command broke off: %v", err)
		}
		size := binary.BigEndian.Uint32(h[1:])
		if size > maxFrame {
			return 0, fmt.Errorf("a frame of %d bytes, at most %d are allowed", size, maxFrame)
		}
		if _, err := io.ReadFull(r, buf[:size]); err != nil {
			return 0, api.Errorf(api.CodeUnavailable, "the connection to the command broke off: %v", err)
		}
		var err error
		switch h[0] {
		case frameStdout:
			_, err = stdout.Write(buf[:size])
		case frameStderr:
			_, err = stderr.Write(buf[:size])
		case frameWindow:
			if size == 4 {
				grant(int(binary.BigEndian.Uint32(buf[:4])))
			}
		case frameExit:
			if size != 4 {
				return 0, errors.New("an exit frame without a code")
			}
			return int(int32(binary.BigEndian.Uint32(buf[:4]))), nil
		}
		if err != nil {
			return 0, err
		}
	}
}
