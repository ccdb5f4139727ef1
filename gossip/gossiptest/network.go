// Package gossiptest is a network in memory for tests of gossip: lossy, never
// blocking, and fit for the fake time of testing/synctest. It owns no test;
// the tests of gossip and of integration call it.
package gossiptest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Network joins transports by address ("IP:port").
type Network struct {
	mu    sync.Mutex
	ends  map[string]*Transport
	cut   map[[2]string]bool
	alone map[string]bool
	loss  float64
}

// New makes a network without loss.
func New() *Network {
	return &Network{ends: map[string]*Transport{}, cut: map[[2]string]bool{}, alone: map[string]bool{}}
}

// Transport makes the end at addr, in place of one that was there.
func (n *Network) Transport(addr string) *Transport {
	t := &Transport{net: n, addr: netip.MustParseAddrPort(addr),
		packets: make(chan *memberlist.Packet, 1024), streams: make(chan net.Conn, 64), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ends[addr] = t
	return t
}

// Loss drops a share of all packets, 0 to 1.
func (n *Network) Loss(share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = share
}

// Cut lets nothing pass between two addresses, either way.
func (n *Network) Cut(a, b string) { n.set(a, b, true) }

// Heal undoes Cut.
func (n *Network) Heal(a, b string) { n.set(a, b, false) }

// Isolate cuts one address off from all, or undoes that.
func (n *Network) Isolate(addr string, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.alone[addr] = on
}

func (n *Network) set(a, b string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{a, b}], n.cut[[2]string{b, a}] = cut, cut
}

// reach is the end at to; cut says that it cannot be reached from from.
func (n *Network) reach(from, to string) (end *Transport, cut, lost bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	cut = n.cut[[2]string{from, to}] || n.alone[from] || n.alone[to]
	return n.ends[to], cut, n.loss > 0 && rand.Float64() < n.loss
}

// Transport is one end of a Network.
type Transport struct {
	net     *Network
	addr    netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

var _ memberlist.NodeAwareTransport = (*Transport)(nil)

func (t *Transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.addr.Addr().AsSlice(), int(t.addr.Port()), nil
}

func (t *Transport) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	if t.isClosed() {
		return now, net.ErrClosed
	}
	end, cut, lost := t.net.reach(t.addr.String(), addr)
	if end == nil || cut || lost || end.isClosed() {
		return now, nil
	}
	p := &memberlist.Packet{Buf: append([]byte(nil), b...), From: net.UDPAddrFromAddrPort(t.addr), Timestamp: now}
	select {
	case end.packets <- p:
	default: // as a full socket buffer does
	}
	return now, nil
}

func (t *Transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

func (t *Transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	if t.isClosed() {
		return nil, net.ErrClosed
	}
	end, cut, _ := t.net.reach(t.addr.String(), addr)
	if cut {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil, fmt.Errorf("dial %s: timed out", addr)
		case <-t.closed:
			return nil, net.ErrClosed
		}
	}
	if end == nil || end.isClosed() {
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	}
	ours, theirs := net.Pipe()
	select {
	case end.streams <- &conn{Conn: theirs, from: end, to: t}:
		return &conn{Conn: ours, from: t, to: end}, nil
	default:
		return nil, fmt.Errorf("dial %s: backlog is full", addr)
	}
}

func (t *Transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *Transport) StreamCh() <-chan net.Conn           { return t.streams }

// Shutdown is also how a test kills a node: nothing is sent any more.
func (t *Transport) Shutdown() error {
	t.once.Do(func() { close(t.closed) })
	return nil
}

func (t *Transport) isClosed() bool {
	select {
	case <-t.closed:
		return true
	default:
		return false
	}
}

// conn is a stream that a cut or a dead end breaks.
type conn struct {
	net.Conn
	from, to *Transport
}

func (c *conn) Write(b []byte) (int, error) {
	_, cut, _ := c.from.net.reach(c.from.addr.String(), c.to.addr.String())
	if cut || c.from.isClosed() || c.to.isClosed() {
		return 0, errors.New("connection lost")
	}
	return c.Conn.Write(b)
}

func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.to.addr) }
func (c *conn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.from.addr) }
