package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/mesita/mesita/api/backoff"
)

const (
	// memberlist fills packets up to 1,400 bytes; a lone large message may go a
	// little over. Nothing of ours is bigger than this.
	maxPacket    = 2048
	packetQueue  = 1024
	streamQueue  = 32
	maxStreams   = 256 // open at a time that others began
	udpBuffer    = 2 << 20
	minReadRetry = 5 * time.Millisecond
	maxReadRetry = time.Second
)

// Dial opens a gossip stream to the node at addr ("IP:port").
type Dial func(ctx context.Context, addr string) (net.Conn, error)

// Transport carries gossip over the node's one port: packets over UDP, streams
// over a listener and a dialer that are given (ours speak mTLS).
type Transport struct {
	udp       net.PacketConn
	streams   net.Listener
	dial      Dial
	advertise netip.AddrPort
	log       *slog.Logger

	diverted atomic.Pointer[diversion]

	packetCh chan *memberlist.Packet
	streamCh chan net.Conn
	open     atomic.Int64
	dropped  atomic.Uint64

	ctx  context.Context // ends dials and reads at Shutdown, for which memberlist passes no context
	stop context.CancelFunc
	wg   sync.WaitGroup
}

var _ memberlist.NodeAwareTransport = (*Transport)(nil)

// NewTransport takes over udp and streams: Shutdown closes them. advertise is
// the address that the other nodes reach both at.
func NewTransport(udp net.PacketConn, streams net.Listener, dial Dial, advertise netip.AddrPort, log *slog.Logger) (*Transport, error) {
	if !advertise.IsValid() || advertise.Addr().IsUnspecified() || advertise.Port() == 0 {
		return nil, fmt.Errorf("gossip transport: advertise address %s: want the IP and port that others reach this node at", advertise)
	}
	if c, ok := udp.(interface{ SetReadBuffer(int) error }); ok {
		_ = c.SetReadBuffer(udpBuffer) // the kernel caps it; less is only slower
	}
	t := &Transport{udp: udp, streams: streams, dial: dial, advertise: advertise, log: log,
		packetCh: make(chan *memberlist.Packet, packetQueue), streamCh: make(chan net.Conn, streamQueue)}
	t.ctx, t.stop = context.WithCancel(context.Background())
	t.wg.Go(t.readPackets)
	t.wg.Go(t.acceptStreams)
	return t, nil
}

// diversion is what happens to packets that are none of gossip's.
type diversion struct {
	prefix string
	to     func(b []byte)
}

// Divert gives packets that begin with prefix to a function instead, which must
// not block, nor keep them.
func (t *Transport) Divert(prefix string, to func(b []byte)) {
	t.diverted.Store(&diversion{prefix, to})
}

// Dropped is how many packets and streams were thrown away because they were
// too large or too many.
func (t *Transport) Dropped() uint64 { return t.dropped.Load() }

// FinalAdvertiseAddr prefers what memberlist was configured with.
func (t *Transport) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	addr := t.advertise
	if ip != "" {
		parsed, err := netip.ParseAddr(ip)
		if err != nil || port < 1 || port > 65535 {
			return nil, 0, fmt.Errorf("advertise address %q port %d: want an IP and a port", ip, port)
		}
		addr = netip.AddrPortFrom(parsed, uint16(port))
	}
	return net.IP(addr.Addr().Unmap().AsSlice()), int(addr.Port()), nil
}

func (t *Transport) WriteTo(b []byte, addr string) (time.Time, error) {
	if len(b) > maxPacket {
		return time.Time{}, fmt.Errorf("gossip packet has %d bytes, at most %d are sent", len(b), maxPacket)
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("gossip address %q: %w", addr, err)
	}
	_, err = t.udp.WriteTo(b, net.UDPAddrFromAddrPort(ap))
	return time.Now(), err
}

func (t *Transport) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, addr.Addr)
}

func (t *Transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	return t.dial(ctx, addr)
}

func (t *Transport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(addr.Addr, timeout)
}

func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.packetCh }
func (t *Transport) StreamCh() <-chan net.Conn           { return t.streamCh }

// Shutdown closes the socket and the listener and waits for their readers.
func (t *Transport) Shutdown() error {
	t.stop()
	t.udp.Close()
	t.streams.Close()
	t.wg.Wait()
	for {
		select {
		case conn := <-t.streamCh:
			conn.Close()
		default:
			return nil
		}
	}
}

func (t *Transport) readPackets() {
	buf := make([]byte, maxPacket+1)
	delay := backoff.New(minReadRetry, maxReadRetry)
	for {
		n, from, err := t.udp.ReadFrom(buf)
		if err != nil {
			if !t.retry("read gossip packet", err, delay) {
				return
			}
			continue
		}
		delay.Reset()
		if n == 0 || n > maxPacket {
			t.dropped.Add(1)
			continue
		}
		if d := t.diverted.Load(); d != nil && bytes.HasPrefix(buf[:n], []byte(d.prefix)) {
			d.to(buf[:n])
			continue
		}
		if !sealed(buf[:n]) {
			t.dropped.Add(1)
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: time.Now()}
		select {
		case t.packetCh <- p:
		default: // a lost packet is gossip's everyday life
			t.dropped.Add(1)
		}
	}
}

// sealing is memberlist's byte for AES-GCM without padding, which all of our
// versions send.
const sealing = 1

// sealed reports whether a packet says that it is encrypted as ours are. The byte
// that says so is not covered by the encryption: memberlist 0.6.0 crashes the
// program over the padding of a packet of ours in which it was made a zero.
func sealed(b []byte) bool {
	payload, _, err := memberlist.RemoveLabelHeaderFromPacket(b)
	return err == nil && len(payload) > 0 && payload[0] == sealing
}

func (t *Transport) acceptStreams() {
	delay := backoff.New(minReadRetry, maxReadRetry)
	for {
		conn, err := t.streams.Accept()
		if err != nil {
			if !t.retry("accept gossip stream", err, delay) {
				return
			}
			continue
		}
		delay.Reset()
		if t.open.Add(1) > maxStreams {
			t.open.Add(-1)
			t.dropped.Add(1)
			conn.Close()
			continue
		}
		c := &boundedConn{Conn: conn, done: func() { t.open.Add(-1) }}
		select {
		case t.streamCh <- c:
		default:
			t.dropped.Add(1)
			c.Close()
		}
	}
}

// retry waits a little after a passing error, and reports false after a final one.
func (t *Transport) retry(what string, err error, delay *backoff.Backoff) bool {
	if t.ctx.Err() != nil {
		return false
	}
	if errors.Is(err, net.ErrClosed) {
		t.log.Error(what+": closed too early", "error", err)
		return false
	}
	wait := delay.Next()
	t.log.Warn(what, "error", err, "retry", wait)
	return backoff.Pause(t.ctx, wait)
}

// boundedConn gives its place back when it is closed.
type boundedConn struct {
	net.Conn
	once sync.Once
	done func()
}

func (c *boundedConn) Close() error {
	c.once.Do(c.done)
	return c.Conn.Close()
}
