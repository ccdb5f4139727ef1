package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// peer is the keeper of one folder, as the daemon sees it: one connection that
// is made when it is needed, and the keeper with it.
type peer struct {
	cfg    ClientConfig // Dir is this keeper's
	tell   func(...Status)
	linked func() // a connection was made
	left   func() // one ended

	dialing sync.Mutex // one connects at a time
	looking sync.Mutex // one looks at the ledger at a time
	readers sync.WaitGroup

	mu     sync.Mutex
	link   *link
	missed error // why the last connection was not made; nil: it was
	closed bool
}

// link is one connection with the requests that wait on it.
type link struct {
	*conn
	done    chan struct{}
	seq     uint64
	waiting map[uint64]chan *message // closed without a message when the connection ends
	bye     bool
	knows   knows
	pid     int
	heard   atomic.Int64 // when something last came, in ns since 1970
	vouches vouching     // guarded by Client.vouching
}

// vouching is what a keeper was told to answer for, over a connection.
type vouching uint8

const (
	notTold vouching = iota
	forTasks
	forNobody
)

// errGone says that the connection ended before the answer.
var errGone = errors.New("the connection to the keeper ended")

// close ends the connection; the keeper and its tasks continue.
func (p *peer) close() {
	p.mu.Lock()
	p.closed = true
	l := p.link
	p.mu.Unlock()
	if l != nil {
		l.fail(net.ErrClosed)
	}
	p.readers.Wait()
}

// dial connects to a keeper that is there.
func dial(dir string, main bool) (*conn, *hello, error) {
	k, h, err := dialWithin(dir, main, spawnTime)
	if err == nil {
		_ = k.sock.SetDeadline(time.Time{}) // a socket has deadlines
	}
	return k, h, err
}

// dialWithin is dial where that, and all that is said after, may take so long.
func dialWithin(dir string, main bool, within time.Duration) (*conn, *hello, error) {
	path, done, err := socketPath(dir)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	sock, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	k := newConn(sock)
	_ = sock.SetDeadline(time.Now().Add(within)) // a socket has deadlines
	b, err := encode(nil, &message{Op: opHello, Hello: &hello{Version: version, MinVersion: minVersion, PID: os.Getpid(), Main: main}})
	if err == nil {
		_, err = sock.Write(b)
	}
	var m *message
	if err == nil {
		m, err = k.awaited(opHello)
	}
	if err == nil {
		if err = m.Error.asError(); err == nil {
			err = negotiate(m.Hello)
		}
	}
	if err != nil {
		return nil, nil, errors.Join(silence(err), sock.Close())
	}
	return k, m.Hello, nil
}

// connect returns the connection, making it and, with start, the keeper if
// needed. Without start and a keeper it returns nil.
func (p *peer) connect(ctx context.Context, start bool) (*link, error) {
	if l, err := p.current(); l != nil || err != nil {
		return l, err
	}
	p.dialing.Lock()
	defer p.dialing.Unlock()
	if l, err := p.current(); l != nil || err != nil {
		return l, err
	}
	k, h, err := dial(p.cfg.Dir, true)
	if err != nil && absent(err) {
		if !start && !unclean(p.cfg.Dir) {
			return nil, nil
		}
		if err = spawn(ctx, p.cfg); err == nil {
			k, h, err = dial(p.cfg.Dir, true)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.missed = err; err != nil {
		return nil, fmt.Errorf("reach the keeper in %s: %w", p.cfg.Dir, err)
	}
	l := &link{conn: k, done: make(chan struct{}), waiting: map[uint64]chan *message{}, knows: knowledge(h), pid: h.PID}
	l.heard.Store(time.Now().UnixNano())
	if p.closed {
		k.sock.Close()
		return nil, net.ErrClosed
	}
	if p.cfg.Vouch != nil && l.knows.all[featureBeside] {
		// Before anything that it starts: were this daemon killed in between, nobody
		// would answer for what runs, and it would be started elsewhere. Who
		// appoints asks for it again, and hears how it went.
		_ = l.send(&message{Op: opVouch, Vouch: p.cfg.Vouch}) // the link ends if it cannot be sent
	}
	p.link = l
	p.readers.Go(func() { l.write(l.done) })
	p.readers.Go(func() { p.read(l) })
	p.linked()
	return l, nil
}

func (p *peer) current() (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, net.ErrClosed
	}
	return p.link, nil
}

// absent reports whether no keeper listens, or one that is ending.
func absent(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// unclean reports whether a keeper died and left tasks, or exits nobody took
// note of, which only a new keeper can tell about.
func unclean(dir string) bool {
	if there(dir) {
		return true
	}
	fi, err := os.Stat(filepath.Join(dir, ledgerFile))
	return err == nil && fi.Size() > 0
}

// read receives answers and events until the connection ends.
func (p *peer) read(l *link) {
	for {
		m, err := l.receive()
		if err != nil {
			l.fail(err)
			break
		}
		l.heard.Store(time.Now().UnixNano())
		switch m.Op {
		case opStatus:
			p.tell(m.Statuses...)
		case opBye:
			l.mu.Lock()
			l.bye = true
			l.mu.Unlock()
		case opAnswer:
			p.mu.Lock()
			w := l.waiting[m.Seq]
			delete(l.waiting, m.Seq)
			p.mu.Unlock()
			if w != nil {
				w <- m
			}
		}
	}
	p.mu.Lock()
	if p.link == l {
		p.link = nil
	}
	for _, w := range l.waiting {
		close(w)
	}
	l.waiting = nil
	closed := p.closed
	p.mu.Unlock()
	close(l.done) // now that whoever tries again does not find this link once more
	l.mu.Lock()
	bye := l.bye
	l.mu.Unlock()
	if !bye && !closed {
		p.tell(Status{State: Reset})
	}
	p.left()
}

// ask sends a request and waits for its answer.
func (p *peer) ask(ctx context.Context, l *link, m *message) (*message, error) {
	w := make(chan *message, 1)
	p.mu.Lock()
	if l.waiting == nil {
		p.mu.Unlock()
		return nil, errGone
	}
	l.seq++
	m.Seq = l.seq
	l.waiting[m.Seq] = w
	p.mu.Unlock()
	if err := l.send(m); err != nil {
		p.mu.Lock()
		delete(l.waiting, m.Seq)
		p.mu.Unlock()
		return nil, errors.Join(errGone, err)
	}
	select {
	case r, ok := <-w:
		if !ok {
			return nil, errGone
		}
		return r, r.Error.asError()
	case <-ctx.Done():
		p.mu.Lock()
		delete(l.waiting, m.Seq)
		p.mu.Unlock()
		return nil, context.Cause(ctx)
	}
}

// tries is how often a request is sent again over a new connection. All are
// the same when done twice.
const tries = 3

// do asks over a connection that is made if needed. With start a keeper is
// started if none is there; otherwise its absence is ErrUnknown.
func (p *peer) do(ctx context.Context, start bool, m message) (r *message, err error) {
	for range tries {
		var l *link
		if l, err = p.connect(ctx, start); err != nil {
			return nil, err
		}
		if l == nil {
			return nil, ErrUnknown
		}
		if m.Start != nil {
			if lacks := l.knows.lacks(m.Start); len(lacks) > 0 {
				return nil, &LacksError{Lacks: lacks}
			}
		}
		again := m
		if r, err = p.ask(ctx, l, &again); !errors.Is(err, errGone) {
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

// quit tells the keeper to end once no task runs.
func (p *peer) quit(ctx context.Context) error {
	_, err := p.do(ctx, false, message{Op: opQuit})
	return ignoreUnknown(err)
}
