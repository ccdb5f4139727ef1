package budget

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Conns bounds the connections that are open. Where there is no more room, the
// caller that has the most of its class loses its oldest: a flood pushes out
// itself, and somebody who comes anew gets through.
type Conns struct {
	limits [3]Limits
	log    *slog.Logger
	noted  noted
	pace   *Rate // of what strangers send, in bytes
	floods *Floods

	mu   sync.Mutex
	open map[Who]*list.List // of *Conn, the oldest first
	sum  [classes]int64
}

// DefaultConns are the bounds of a node: few enough files and memory for all
// else to continue. Nodes relay over a connection for each request under way.
var DefaultConns = [3]Limits{
	Stranger: {Total: 1024, Each: 512},
	User:     {Total: 1024, Each: 512},
	Trusted:  {Total: 8192, Each: 2048},
}

// What strangers send is read, decrypted and taken apart before anything can be
// refused, so they send no faster than that. A request of a user whom this node does
// not know, since only the leader can tell, comes at once.
var (
	strangersEach = Pace{2 << 20, 6 << 20}
	strangersAll  = Pace{4 << 20, 12 << 20}
)

// NewConns makes a Conns. floods is told of refusals, and may be nil.
func NewConns(limits [3]Limits, log *slog.Logger, floods *Floods) *Conns {
	return &Conns{limits: limits, log: log, floods: floods, open: map[Who]*list.List{}, pace: NewRate(strangersEach, strangersAll)}
}

// Conn is a connection that is counted until it is closed.
type Conn struct {
	net.Conn
	conns  *Conns
	who    Who
	place  *list.Element // nil: not counted
	closed bool

	stranger atomic.Pointer[string] // who is paced; nil = not
	done     chan struct{}          // closed with it
}

// NetConn is the connection below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Close ends the connection.
func (c *Conn) Close() error {
	c.conns.mu.Lock()
	c.end()
	c.conns.remove(c)
	c.conns.mu.Unlock()
	return c.Conn.Close()
}

func (c *Conn) end() {
	if !c.closed {
		close(c.done)
	}
	c.closed = true
}

// Read reads what came; a stranger's as fast as strangers may send.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	who := c.stranger.Load()
	if who == nil || n == 0 {
		return n, err
	}
	if wait := c.conns.pace.Take(*who, float64(n)); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.done:
		}
	}
	return n, err
}

// CloseWrite says that nothing more will be sent.
func (c *Conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// Wrap is a connection that is not counted before it is charged to somebody.
func (s *Conns) Wrap(c net.Conn) *Conn { return &Conn{Conn: c, conns: s, done: make(chan struct{})} }

// Charge counts the connection for who. It may close another, or the caller's
// own oldest.
func (c *Conn) Charge(who Who) {
	s := c.conns
	s.mu.Lock()
	if c.closed {
		s.mu.Unlock()
		return
	}
	s.remove(c)
	victim := s.victim(who)
	if victim != nil {
		s.remove(victim)
		victim.end()
	}
	if s.open[who] == nil {
		s.open[who] = list.New()
	}
	c.who, c.place = who, s.open[who].PushBack(c)
	c.stranger.Store(nil)
	if who.Class == Stranger {
		name := who.Name // c.who changes once somebody is known
		c.stranger.Store(&name)
	}
	s.sum[who.Class]++
	s.mu.Unlock()
	if victim != nil {
		s.Refused(victim.who, "connections", s.of(victim.who)+1)
		_ = victim.Conn.Close() // it is given up
	}
}

// Refused notes that who was refused more of something, and how much of it it has.
func (s *Conns) Refused(who Who, of string, has int64) {
	s.noted.refused(s.log, of, who, has)
	s.floods.Refused(who, of)
}

// Known charges the connection to who was found to be at its other end, unless
// somebody was before: nodes also pass on what others ask.
func (c *Conn) Known(who Who) {
	c.conns.mu.Lock()
	known := c.who.Class != Stranger
	c.conns.mu.Unlock()
	if !known && who.Class != Stranger {
		c.Charge(who)
	}
}

func (s *Conns) remove(c *Conn) {
	if c.place == nil {
		return
	}
	l := s.open[c.who]
	l.Remove(c.place)
	c.place = nil
	if s.sum[c.who.Class]--; l.Len() == 0 {
		delete(s.open, c.who)
	}
}

// victim is what is closed for one more connection, nil = nothing.
func (s *Conns) victim(who Who) *Conn {
	l := s.limits[who.Class]
	mine := s.open[who]
	if mine != nil && int64(mine.Len()) >= l.Each {
		return mine.Front().Value.(*Conn)
	}
	if s.sum[who.Class] < l.Total {
		return nil
	}
	var worst *list.List
	for w, has := range s.open {
		if w.Class == who.Class && (worst == nil || has.Len() > worst.Len()) {
			worst = has
		}
	}
	return worst.Front().Value.(*Conn)
}

func (s *Conns) of(who Who) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.open[who]; l != nil {
		return int64(l.Len())
	}
	return 0
}

// Open is how many connections of a class are open.
func (s *Conns) Open(c Class) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum[c]
}

// Listener counts what is accepted, for who it is as far as that shows.
func (s *Conns) Listener(l net.Listener, who func(net.Conn) Who) net.Listener {
	return &listener{l, s, who}
}

type listener struct {
	net.Listener
	conns *Conns
	who   func(net.Conn) Who
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	held := l.conns.Wrap(c)
	held.Charge(l.who(c))
	return held, nil
}

type connKey struct{}

// ConnContext is an http.Server's ConnContext: Known finds the connection there.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	for {
		if held, ok := c.(*Conn); ok {
			return context.WithValue(ctx, connKey{}, held)
		}
		below, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return ctx
		}
		c = below.NetConn()
	}
}

// Known tells who was found to be at the other end of a request's connection.
func Known(ctx context.Context, who Who) {
	if c, ok := ctx.Value(connKey{}).(*Conn); ok {
		c.Known(who)
	}
}
