package keeper

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
)

// The protocol: each side sends frames, four bytes length (big-endian) and a
// JSON message of that size. Both begin with a hello; the version spoken is the
// lower of the two. Unknown fields are ignored, so a newer daemon and an older
// keeper work together, but for those of a start, which say what a task needs:
// they are refused. An unknown op is answered with an error.
const (
	version    = 1
	minVersion = 1
	maxMessage = 4 << 20
	maxQueued  = 64 << 20 // bytes to a peer that does not read
)

// message is every message; what is not of its op is left out.
type message struct {
	Op  string `json:"op"`
	Seq uint64 `json:"seq,omitempty"` // joins an answer to its request

	Hello  *hello          `json:"hello,omitempty"`
	Start  *StartRequest   `json:"start,omitempty"`
	Exec   *ExecRequest    `json:"exec,omitempty"`
	ID     string          `json:"id,omitempty"`
	IDs    []string        `json:"ids,omitempty"`
	Detail api.StatsDetail `json:"detail,omitempty"` // of stats; a keeper from before reads all
	Signal int             `json:"signal,omitempty"`
	Vouch  *Vouch          `json:"vouch,omitempty"`
	Names  []uint64        `json:"names,omitempty"` // vouch.Name of attempts

	Started  *StartResult   `json:"started,omitempty"`
	Executed *ExecResult    `json:"executed,omitempty"`
	Statuses []Status       `json:"statuses,omitempty"`
	Stats    *api.TaskStats `json:"stats,omitempty"`

	AllStats []*api.TaskStats `json:"allStats,omitempty"` // of the IDs asked for, null of what does not run

	Error *wireError `json:"error,omitempty"`
}

// check reports whether a request says all that its op needs.
func (m *message) check() error {
	if m.Op == opStats && len(m.IDs) > statsAtOnce {
		return fmt.Errorf("%s are asked for together, at most %d may be", api.Count(len(m.IDs), "attempt"), statsAtOnce)
	}
	if (m.Op == opStart || m.Op == opPrepare) && m.Start == nil || m.Op == opExec && m.Exec == nil {
		return fmt.Errorf("the operation %q says not of what", m.Op)
	}
	return nil
}

type hello struct {
	Version    int  `json:"version"`
	MinVersion int  `json:"minVersion"`
	PID        int  `json:"pid"`
	Main       bool `json:"main,omitempty"` // the daemon's main connection: it replaces an earlier one

	Features   []string `json:"features,omitempty"`   // of a keeper; see features.go
	Generation int      `json:"generation,omitempty"` // likewise
}

// The ops.
const (
	opHello    = "hello"
	opStart    = "start"
	opPrepare  = "prepare" // a start that may come; not answered
	opPing     = "ping"    // whether it answers
	opSignal   = "signal"
	opKill     = "kill"
	opList     = "list"
	opForget   = "forget"
	opStats    = "stats"
	opExec     = "exec"
	opTerminal = "terminal" // of an attempt: answered with it
	opFreeze   = "freeze"
	opThaw     = "thaw"
	opQuit     = "quit"
	opVouch    = "vouch"
	opDeny     = "deny"   // from a keeper beside: answered with those of the names that are not denied, as they are here
	opDenied   = "denied" // likewise: answered with all that is denied here
	opAnswer   = "answer"
	opStatus   = "status" // an event
	opBegun    = "begun"  // the command of an exec has
	opBye      = "bye"    // the keeper ends because nothing is left to do
)

// wireError carries an error across the socket.
type wireError struct {
	Kind    string `json:"kind,omitempty"`
	Message string `json:"message"`
}

var kinds = map[string]error{
	"unknown": ErrUnknown, "notRunning": ErrNotRunning, "lost": ErrLost, "notExist": os.ErrNotExist, "permission": os.ErrPermission,
	"program": ErrProgram, "diskFull": ErrDiskFull, "frozen": ErrFrozen, "lacks": errLacks, "late": errLate, "unfreezable": ErrUnfreezable, "noTerminal": ErrNoTerminal,
}

func toWire(err error) *wireError {
	if err == nil {
		return nil
	}
	w := &wireError{Message: err.Error()}
	for k, e := range kinds {
		if errors.Is(err, e) {
			w.Kind = k
		}
	}
	return w
}

func (w *wireError) asError() error {
	if w == nil {
		return nil
	}
	return &remoteError{w.Message, kinds[w.Kind]}
}

type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

func negotiate(theirs *hello) error {
	if theirs == nil {
		return errors.New("the other side of the keeper's socket did not say hello")
	}
	if theirs.Version < minVersion || theirs.MinVersion > version {
		return fmt.Errorf("the keeper's protocol: this side speaks versions %d to %d and the other %d to %d: "+
			"stop the node's tasks and start mesita again", minVersion, version, theirs.MinVersion, theirs.Version)
	}
	return nil
}

// conn sends and receives messages. What several goroutines send while a write
// is under way goes out together in the next.
type conn struct {
	sock *net.UnixConn

	mu     sync.Mutex
	out    []byte
	broken error
	wake   chan struct{}

	in  []byte // read but not decoded
	buf []byte
	fds []int // received and not taken yet
}

func newConn(sock *net.UnixConn) *conn {
	return &conn{sock: sock, wake: make(chan struct{}, 1)}
}

func encode(b []byte, m *message) ([]byte, error) {
	v, err := json.Marshal(m)
	if err != nil {
		return b, err
	}
	if len(v) > maxMessage {
		return b, fmt.Errorf("a message of %d bytes to the keeper is over its limit of %d", len(v), maxMessage)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...), nil
}

var errUnread = errors.New("the keeper's peer does not read")

// unread is an error if the connection was ended for that.
func (c *conn) unread() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(c.broken, errUnread) {
		return errUnread
	}
	return nil
}

// send queues m.
func (c *conn) send(m *message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return c.broken
	}
	b, err := encode(c.out, m)
	c.out = b
	if err != nil {
		return err
	}
	if len(c.out) > maxQueued {
		c.broken = errUnread
		c.sock.Close()
		return c.broken
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

// sendFiles sends m with files, at once.
func (c *conn) sendFiles(m *message, files []*os.File) error {
	b, err := encode(nil, m)
	if err != nil {
		return err
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	n, _, err := c.sock.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
	if err == nil && n < len(b) {
		_, err = c.sock.Write(b[n:])
	}
	return err
}

// write sends what is queued, and once done is closed what is left.
func (c *conn) write(done <-chan struct{}) {
	var spare []byte
	for last := false; !last; {
		select {
		case <-done:
			last = true
		case <-c.wake:
		}
		c.mu.Lock()
		b := c.out
		c.out = spare[:0]
		c.mu.Unlock()
		if len(b) == 0 {
			spare = b
			continue
		}
		if _, err := c.sock.Write(b); err != nil {
			c.fail(err)
			return
		}
		if spare = b; cap(spare) > 256<<10 {
			spare = nil
		}
	}
}

func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken == nil {
		c.broken = err
	}
	c.sock.Close()
}

// receive returns the next message.
func (c *conn) receive() (*message, error) {
	for {
		if len(c.in) >= 4 {
			n := int(binary.BigEndian.Uint32(c.in))
			if n > maxMessage {
				return nil, fmt.Errorf("a message of %d bytes on the keeper's socket is over the limit of %d", n, maxMessage)
			}
			if len(c.in) >= 4+n {
				m := &message{}
				err := json.Unmarshal(c.in[4:4+n], m)
				c.in = c.in[4+n:]
				if err != nil {
					return nil, fmt.Errorf("a message on the keeper's socket: %w", err)
				}
				return m, nil
			}
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// awaited receives the next message of that kind. Keepers up to 5335be4 tell
// each connection, from its first moment, how any task ends.
func (c *conn) awaited(op string) (*message, error) {
	for {
		m, err := c.receive()
		if err != nil || m.Op == op {
			return m, err
		}
	}
}

func (c *conn) fill() error {
	if cap(c.buf) == 0 {
		c.buf = make([]byte, 0, 16<<10)
	}
	if len(c.in) == 0 {
		c.buf = c.buf[:0]
	} else {
		c.buf = append(c.buf[:0], c.in...)
	}
	c.buf = slices.Grow(c.buf, 8<<10)
	oob := make([]byte, 0)
	if len(c.fds) == 0 {
		oob = make([]byte, unix.CmsgSpace(4*4))
	}
	n, oobn, _, _, err := c.sock.ReadMsgUnix(c.buf[len(c.buf):cap(c.buf)], oob)
	if err != nil {
		return err
	}
	if oobn > 0 {
		c.takeRights(oob[:oobn])
	}
	if n == 0 {
		return io.EOF
	}
	c.buf = c.buf[:len(c.buf)+n]
	c.in = c.buf
	return nil
}

func (c *conn) takeRights(oob []byte) {
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	for i := range msgs {
		if fds, err := syscall.ParseUnixRights(&msgs[i]); err == nil {
			c.fds = append(c.fds, fds...)
		}
	}
}

// takeFiles returns the files received so far.
func (c *conn) takeFiles() []*os.File {
	var out []*os.File
	for _, fd := range c.fds {
		out = append(out, os.NewFile(uintptr(fd), "passed"))
	}
	c.fds = nil
	return out
}

// dropFiles closes the files that nobody took.
func (c *conn) dropFiles() {
	for _, f := range c.takeFiles() {
		f.Close()
	}
}
