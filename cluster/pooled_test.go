package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/mesita/mesita/cluster/tlsconf"
	"golang.org/x/sys/unix"
)

// A request on a kept connection has to be acknowledged soon, and its answer may
// be long in coming.
func TestRequestsAreAcknowledgedSoon(t *testing.T) {
	ca, err := tlsconf.NewCA("pine", "c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	oak, _ := holderOf(t, ca, "oak")
	elm, id := holderOf(t, ca, "elm")
	guard := guardOf(first)
	addr := serveAs(t, elm, guard.tell(http.NotFoundHandler()))
	p := newPeers(oak, func(string) (string, bool) { return addr, true }, guardOf(first), func() {})
	var conn *pooled
	dial := p.transport(id).(sameAge).RoundTripper.(acknowledged).DialTLSContext
	p.http[peerKey{id: id}].DialTLSContext = func(ctx context.Context, network, at string) (net.Conn, error) {
		c, err := dial(ctx, network, at)
		conn, _ = c.(*pooled)
		return c, err
	}
	for range 2 {
		if err := p.alive(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if got := userTimeoutOf(t, conn); got != ackWithin {
			t.Errorf("the connection ends after %v without an acknowledgement", got)
		}
		conn.calm() // in good time
		if got := userTimeoutOf(t, conn); got != ackWithin {
			t.Errorf("the haste ended early: %v", got)
		}
		conn.until = time.Time{}
		conn.calm()
		if got := userTimeoutOf(t, conn); got != unackedMost {
			t.Errorf("the connection ends after %v while the answer is awaited", got)
		}
	}
	p.close()
}

// No connection between nodes, on either side, waits for long for a host that
// does not acknowledge what was sent.
func TestNoConnectionWaitsForAQuarterOfAnHour(t *testing.T) {
	l, udp, err := listenBoth(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	defer udp.Close()
	ca, err := tlsconf.NewCA("pine", "c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	oak, _ := holderOf(t, ca, "oak")
	elm, id := holderOf(t, ca, "elm")
	p := newPeers(oak, nil, guardOf(first), func() {})
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		s := tls.Server(c, elm.ServerConfig([]string{tlsconf.ProtoRaft}))
		_ = s.HandshakeContext(t.Context()) // the dialer says why it failed
		accepted <- s
	}()
	c, err := p.dial(t.Context(), l.Addr().String(), tlsconf.ProtoRaft, id)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := <-accepted
	defer s.Close()
	for side, c := range map[string]net.Conn{"dialed": c, "accepted": s} {
		if got := userTimeoutOf(t, c); got != unackedMost {
			t.Errorf("what is %s ends after %v without an acknowledgement", side, got)
		}
	}
}

func userTimeoutOf(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	if p, ok := c.(*pooled); ok {
		c = p.Conn
	}
	var ms int
	var err error
	if e := rawConn(c).Control(func(fd uintptr) { ms, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return time.Duration(ms) * time.Millisecond
}

type failing struct {
	net.Conn
	err error
}

func (f failing) Read([]byte) (int, error) { return 0, &net.OpError{Op: "read", Err: f.err} }

// A connection that nothing was acknowledged on takes the others with it, as
// each would cost a request; and the link counts as cut.
func TestNoAcknowledgementClosesTheOthers(t *testing.T) {
	for err, cut := range map[error]bool{syscall.ETIMEDOUT: true, syscall.EHOSTUNREACH: true, syscall.ECONNRESET: false} {
		closed := false
		_, got := newPooled(failing{err: err}, func() { closed = true }).Read(nil)
		if closed != cut || unlinked(got) != cut || !errors.Is(got, err) {
			t.Errorf("%v: the others closed: %t, cut: %t", got, closed, unlinked(got))
		}
	}
}
