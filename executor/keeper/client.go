package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/mesita/mesita/api"
)

// ClientConfig says where the keeper is and how to start one.
type ClientConfig struct {
	Dir  string   // the keeper's folder
	Argv []string // starts a keeper with that folder: this binary and its hidden command
	Log  *slog.Logger
	// Vouch, unless nil, lets the keeper answer for the tasks while this daemon
	// cannot.
	Vouch *Vouch
}

// Client is the daemon's end. It starts a keeper when one is needed, and keeps
// one connection to it. Its methods may be called from several goroutines.
type Client struct {
	cfg ClientConfig

	dialing sync.Mutex // one connects at a time
	readers sync.WaitGroup

	mu     sync.Mutex
	link   *link
	closed bool
	queue  []Status // events not delivered yet; at most one for each attempt and connection
	wake   chan struct{}
}

// link is one connection with the requests that wait on it.
type link struct {
	*conn
	done    chan struct{}
	seq     uint64
	waiting map[uint64]chan *message // closed without a message when the connection ends
	bye     bool
}

// errGone says that the connection ended before the answer.
var errGone = errors.New("the connection to the keeper ended")

// NewClient connects to nothing yet.
func NewClient(cfg ClientConfig) *Client {
	return &Client{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Close ends the connection; the keeper and its tasks go on.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	l := c.link
	c.mu.Unlock()
	if l != nil {
		l.fail(net.ErrClosed)
	}
	c.readers.Wait()
	return nil
}

// dial connects to a keeper that is there.
func (c *Client) dial(main bool) (*conn, error) {
	path, done, err := socketPath(c.cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer done()
	sock, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	k := newConn(sock)
	_ = sock.SetDeadline(time.Now().Add(spawnTime)) // a socket has deadlines
	b, err := encode(nil, &message{Op: opHello, Hello: &hello{Version: version, MinVersion: minVersion, PID: os.Getpid(), Main: main}})
	if err == nil {
		_, err = sock.Write(b)
	}
	var m *message
	if err == nil {
		m, err = k.receive()
	}
	if err == nil {
		if err = m.Error.asError(); err == nil {
			err = negotiate(m.Hello)
		}
	}
	if err != nil {
		return nil, errors.Join(err, sock.Close())
	}
	_ = sock.SetDeadline(time.Time{})
	return k, nil
}

// connect returns the connection, making it and, with start, the keeper if
// needed. Without start and a keeper it returns nil.
func (c *Client) connect(ctx context.Context, start bool) (*link, error) {
	if l, err := c.current(); l != nil || err != nil {
		return l, err
	}
	c.dialing.Lock()
	defer c.dialing.Unlock()
	if l, err := c.current(); l != nil || err != nil {
		return l, err
	}
	k, err := c.dial(true)
	if err != nil && absent(err) {
		if !start && !c.unclean() {
			return nil, nil
		}
		if err = spawn(ctx, c.cfg); err == nil {
			k, err = c.dial(true)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reach the keeper in %s: %w", c.cfg.Dir, err)
	}
	l := &link{conn: k, done: make(chan struct{}), waiting: map[uint64]chan *message{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		k.sock.Close()
		return nil, net.ErrClosed
	}
	c.link = l
	c.readers.Go(func() { l.write(l.done) })
	c.readers.Go(func() { c.read(l) })
	if c.cfg.Vouch != nil {
		c.readers.Go(func() { c.askToVouch(l) })
	}
	return l, nil
}

func (c *Client) current() (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	return c.link, nil
}

// absent tells whether no keeper listens, or one that is ending.
func absent(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// unclean tells whether a keeper died and left tasks, or exits nobody took
// note of, which only a new keeper can tell about.
func (c *Client) unclean() bool {
	if _, err := os.Stat(filepath.Join(c.cfg.Dir, pidFile)); err == nil {
		return true
	}
	fi, err := os.Stat(filepath.Join(c.cfg.Dir, "ledger"))
	return err == nil && fi.Size() > 0
}

// read receives answers and events until the connection ends.
func (c *Client) read(l *link) {
	for {
		m, err := l.receive()
		if err != nil {
			l.fail(err)
			break
		}
		switch m.Op {
		case opStatus:
			c.deliver(m.Statuses...)
		case opBye:
			l.mu.Lock()
			l.bye = true
			l.mu.Unlock()
		case opAnswer:
			c.mu.Lock()
			w := l.waiting[m.Seq]
			delete(l.waiting, m.Seq)
			c.mu.Unlock()
			if w != nil {
				w <- m
			}
		}
	}
	c.mu.Lock()
	if c.link == l {
		c.link = nil
	}
	for _, w := range l.waiting {
		close(w)
	}
	l.waiting = nil
	closed := c.closed
	c.mu.Unlock()
	close(l.done) // now that whoever tries again does not find this link once more
	l.mu.Lock()
	bye := l.bye
	l.mu.Unlock()
	if !bye && !closed {
		c.deliver(Status{State: Reset})
	}
}

func (c *Client) deliver(st ...Status) {
	c.mu.Lock()
	c.queue = append(c.queue, st...)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Events returns the exits as they happen, until ctx ends; it is called once.
// A status with State Reset says that the keeper was gone: what happened
// meanwhile is told by Running.
func (c *Client) Events(ctx context.Context) (<-chan Status, error) {
	out := make(chan Status, 64)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	c.readers.Go(func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case <-c.wake:
			}
			c.mu.Lock()
			q := c.queue
			c.queue = nil
			c.mu.Unlock()
			for _, st := range q {
				select {
				case <-ctx.Done():
					return
				case out <- st:
				}
			}
		}
	})
	return out, nil
}

// ask sends a request and waits for its answer.
func (c *Client) ask(ctx context.Context, l *link, m *message) (*message, error) {
	w := make(chan *message, 1)
	c.mu.Lock()
	if l.waiting == nil {
		c.mu.Unlock()
		return nil, errGone
	}
	l.seq++
	m.Seq = l.seq
	l.waiting[m.Seq] = w
	c.mu.Unlock()
	if err := l.send(m); err != nil {
		c.mu.Lock()
		delete(l.waiting, m.Seq)
		c.mu.Unlock()
		return nil, errors.Join(errGone, err)
	}
	select {
	case r, ok := <-w:
		if !ok {
			return nil, errGone
		}
		return r, r.Error.asError()
	case <-ctx.Done():
		c.mu.Lock()
		delete(l.waiting, m.Seq)
		c.mu.Unlock()
		return nil, context.Cause(ctx)
	}
}

// tries is how often a request is sent again over a new connection. All are
// the same when done twice.
const tries = 3

// do asks over a connection that is made if needed. With start a keeper is
// started if none is there; otherwise its absence is ErrUnknown.
func (c *Client) do(ctx context.Context, start bool, m message) (r *message, err error) {
	for range tries {
		var l *link
		if l, err = c.connect(ctx, start); err != nil {
			return nil, err
		}
		if l == nil {
			return nil, ErrUnknown
		}
		again := m
		if r, err = c.ask(ctx, l, &again); !errors.Is(err, errGone) {
			return r, err
		}
		select {
		case <-l.done: // so that a new connection is made
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return nil, err
}

// Start starts an attempt, and the keeper if needed. The same attempt is never
// started twice. ErrLost says that nobody knows whether it ran.
func (c *Client) Start(ctx context.Context, r StartRequest) (StartResult, error) {
	m, err := c.do(ctx, true, message{Op: opStart, Start: &r})
	if err != nil {
		return StartResult{}, err
	}
	if m.Started == nil {
		return StartResult{}, errors.New("the keeper did not say what it started")
	}
	return *m.Started, nil
}

// Signal sends a signal to an attempt's main process.
func (c *Client) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	_, err := c.do(ctx, false, message{Op: opSignal, ID: id, Signal: int(sig)})
	return err
}

// Kill kills every process of an attempt.
func (c *Client) Kill(ctx context.Context, id string) error {
	_, err := c.do(ctx, false, message{Op: opKill, ID: id})
	return err
}

// Running returns every attempt that the keeper knows: those that run, and
// those that ended and were not forgotten.
func (c *Client) Running(ctx context.Context) ([]Status, error) {
	m, err := c.do(ctx, false, message{Op: opList})
	if errors.Is(err, ErrUnknown) {
		return nil, nil // no keeper: nothing runs
	}
	if err != nil {
		return nil, err
	}
	return m.Statuses, nil
}

// Forget tells the keeper that ended attempts have been taken note of.
func (c *Client) Forget(ctx context.Context, ids ...string) error {
	_, err := c.do(ctx, false, message{Op: opForget, IDs: ids})
	if errors.Is(err, ErrUnknown) {
		return nil
	}
	return err
}

// Stats tells what a running attempt uses; the names in it are left empty.
func (c *Client) Stats(ctx context.Context, id string) (api.TaskStats, error) {
	m, err := c.do(ctx, false, message{Op: opStats, ID: id})
	if err != nil {
		return api.TaskStats{}, err
	}
	if m.Stats == nil {
		return api.TaskStats{}, errors.New("the keeper did not answer with statistics")
	}
	return *m.Stats, nil
}

// Quit tells the keeper to end once no task runs.
func (c *Client) Quit(ctx context.Context) error {
	_, err := c.do(ctx, false, message{Op: opQuit})
	if errors.Is(err, ErrUnknown) || errors.Is(err, errGone) {
		return nil
	}
	return err
}
