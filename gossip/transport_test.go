package gossip

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"
)

// eventually polls on real time, at most 15 s.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(15 * time.Second); !cond(); <-tick.C {
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
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
	tr, err := NewTransport(udp, tcp, dial, addr, slog.New(slog.DiscardHandler))
	check(t, err)
	t.Cleanup(func() { check(t, tr.Shutdown()) })
	return tr, addr
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
		g, err := New(Config{NodeID: meta.ID, Name: meta.Name, ClusterID: "pine", Key: testKey, Meta: meta, Transport: tr, Log: slog.New(slog.DiscardHandler)})
		check(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx); close(done) }()
		stop := func() { cancel(); check(t, <-done) }
		t.Cleanup(stop)
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
	_, err = conn.Write([]byte("fits"))
	check(t, err)
	if p := <-tr.PacketCh(); string(p.Buf) != "fits" {
		t.Errorf("%d bytes came through", len(p.Buf))
	}
	if tr.Dropped() != 1 {
		t.Errorf("%d dropped", tr.Dropped())
	}
	// Nobody takes the streams: all but a few are closed at once.
	var open []net.Conn
	for range streamQueue + 10 {
		c, err := net.Dial("tcp", addr.String())
		check(t, err)
		open = append(open, c)
	}
	eventually(t, "ten streams are turned away", func() bool { return tr.Dropped() == 11 })
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
