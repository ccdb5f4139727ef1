package gossip

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// eventually polls on real time, at most a minute: that ends a test that is stuck.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// listen finds a port that is free for TCP and UDP.
func listen(t *testing.T) (net.PacketConn, net.Listener, netip.AddrPort) {
	t.Helper()
	for range 20 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		if udp, err := net.ListenPacket("udp", tcp.Addr().String()); err == nil {
			return udp, tcp, netip.MustParseAddrPort(tcp.Addr().String())
		}
		tcp.Close()
	}
	t.Fatal("no port is free for both TCP and UDP")
	return nil, nil, netip.AddrPort{}
}

func plainTransport(t *testing.T) (*Transport, netip.AddrPort) {
	t.Helper()
	udp, tcp, addr := listen(t)
	return transportOver(t, udp, tcp, addr), addr
}

func transportOver(t *testing.T, udp net.PacketConn, tcp net.Listener, addr netip.AddrPort) *Transport {
	t.Helper()
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
	tr, err := NewTransport(udp, tcp, dial, addr, slog.New(slog.DiscardHandler))
	check(t, err)
	t.Cleanup(func() { check(t, tr.Shutdown()) })
	return tr
}

// run has a node of its own gossip until stop is called, or the test ends.
func run(t *testing.T, meta Meta, tr *Transport) (g *Gossip, stop func()) {
	t.Helper()
	g, err := New(Config{NodeID: meta.ID, Name: meta.Name, ClusterID: "pine", Key: testKey, Meta: meta, Transport: tr, Log: slog.New(slog.DiscardHandler)})
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx); close(done) }()
	stop = func() { cancel(); check(t, <-done) }
	t.Cleanup(stop)
	return g, stop
}

func TestRealSockets(t *testing.T) {
	type peer struct {
		*Gossip
		addr string
		stop func()
	}
	var peers []peer
	for i := 1; i <= 3; i++ {
		tr, addr := plainTransport(t)
		meta := metaOf(i, addr.String())
		g, stop := run(t, meta, tr)
		peers = append(peers, peer{g, addr.String(), stop})
		if i > 1 {
			if n, err := g.Join(t.Context(), []string{peers[0].addr}); n != 1 || err != nil {
				t.Fatalf("join: %d, %v", n, err)
			}
		}
	}
	eventually(t, "all see all", func() bool {
		for _, p := range peers {
			if len(p.Members()) != 3 {
				return false
			}
		}
		return true
	})
	// Strangers' packets change nothing.
	conn, err := net.Dial("udp", peers[0].addr)
	check(t, err)
	defer conn.Close()
	for _, size := range []int{1, 100, 3000, 60000} {
		_, err := conn.Write(make([]byte, size))
		check(t, err)
	}
	peers[2].stop()
	eventually(t, "the third has left", func() bool {
		m, _ := peers[0].members.get(idOf(3))
		return m.State == Left
	})
}

// heard keeps what is sent, as whoever listens on the wire may.
type heard struct {
	net.PacketConn
	mu      sync.Mutex
	packets [][]byte
}

func (h *heard) WriteTo(b []byte, to net.Addr) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.packets = append(h.packets, bytes.Clone(b))
	return h.PacketConn.WriteTo(b, to)
}

func (h *heard) all() [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.packets)
}

// Whoever changes a packet that it saw, in any one bit or by cutting it short,
// changes nothing.
func TestChangedPacketsAreDropped(t *testing.T) {
	first, at := plainTransport(t)
	udp, tcp, addr := listen(t)
	wire := &heard{PacketConn: udp}
	a, _ := run(t, metaOf(1, at.String()), first)
	b, _ := run(t, metaOf(2, addr.String()), transportOver(t, wire, tcp, addr))
	if n, err := b.Join(t.Context(), []string{at.String()}); n != 1 || err != nil {
		t.Fatalf("join: %d, %v", n, err)
	}
	eventually(t, "both have spoken", func() bool { return len(a.Members()) == 2 && len(wire.all()) >= 6 })
	conn, err := net.Dial("udp", at.String())
	check(t, err)
	defer conn.Close()
	seen := wire.all()
	slices.SortFunc(seen, func(a, b []byte) int { return len(a) - len(b) })
	for _, packet := range seen[:3] { // short ones: a padding that is made up is longer
		for at := range packet {
			for bit := range 8 {
				changed := bytes.Clone(packet)
				changed[at] ^= 1 << bit
				_, err := conn.Write(changed)
				check(t, err)
			}
			_, err := conn.Write(packet[:at])
			check(t, err)
		}
	}
	before := len(wire.all())
	eventually(t, "they continue", func() bool { return len(wire.all()) > before+1 && len(a.Members()) == 2 && len(b.Members()) == 2 })
}

func TestTransportBounds(t *testing.T) {
	tr, addr := plainTransport(t)
	if _, err := tr.WriteTo(make([]byte, maxPacket+1), addr.String()); err == nil {
		t.Error("an oversize packet was sent")
	}
	if _, err := tr.WriteTo([]byte("x"), "oak:5050"); err == nil {
		t.Error("a name was taken for an address")
	}
	conn, err := net.Dial("udp", addr.String())
	check(t, err)
	defer conn.Close()
	_, err = conn.Write(make([]byte, 5000))
	check(t, err)
	_, err = conn.Write([]byte("unsealed"))
	check(t, err)
	_, err = conn.Write([]byte("\x01fits"))
	check(t, err)
	if p := <-tr.PacketCh(); string(p.Buf) != "\x01fits" {
		t.Errorf("%d bytes came through", len(p.Buf))
	}
	if tr.Dropped() != 2 {
		t.Errorf("%d dropped", tr.Dropped())
	}
	// Nobody takes the streams: all but a few are closed at once.
	var open []net.Conn
	for range streamQueue + 10 {
		c, err := net.Dial("tcp", addr.String())
		check(t, err)
		open = append(open, c)
	}
	eventually(t, "ten streams are turned away", func() bool { return tr.Dropped() == 12 })
	for _, c := range open {
		c.Close()
	}
	for range streamQueue {
		(<-tr.StreamCh()).Close()
	}
	if n := tr.open.Load(); n != 0 {
		t.Errorf("%d streams are still counted", n)
	}
	if _, err := NewTransport(nil, nil, nil, netip.MustParseAddrPort("0.0.0.0:5050"), nil); err == nil {
		t.Error("0.0.0.0 was taken as an address for others")
	}
}
