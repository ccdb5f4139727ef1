package consensus

import (
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// streams is a stream layer that knows its open connections, so that the end
// of a node does not wait for one to a node that is gone.
type streams struct {
	raft.StreamLayer

	mu     sync.Mutex
	open   map[*stream]struct{}
	closed bool
}

func newStreams(l raft.StreamLayer) *streams {
	return &streams{StreamLayer: l, open: map[*stream]struct{}{}}
}

// stream is one connection, in either direction.
type stream struct {
	net.Conn
	of *streams
}

func (c *stream) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

func (s *streams) add(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close() // nobody has used it
		return nil, net.ErrClosed
	}
	t := &stream{c, s}
	s.open[t] = struct{}{}
	return t, nil
}

// Accept takes in a connection.
func (s *streams) Accept() (net.Conn, error) { return s.add(s.StreamLayer.Accept()) }

// Dial opens a connection to the node that is named in the address.
func (s *streams) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, addr := meant(to)
	if d, ok := s.StreamLayer.(NodeDialer); ok && id != "" {
		return s.add(d.DialNode(id, addr, timeout))
	}
	return s.add(s.StreamLayer.Dial(raft.ServerAddress(addr), timeout))
}

// Close closes the listener.
func (s *streams) Close() error {
	s.drop()
	return s.StreamLayer.Close()
}

// drop closes all connections, and lets no new one in.
func (s *streams) drop() {
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = map[*stream]struct{}{}
	s.mu.Unlock()
	for c := range open {
		_ = c.Conn.Close() // both ends give it up
	}
}
