package tlsconf

import (
	"crypto/tls"
	"net"
	"testing"
)

// sited makes of the loopback addresses of a test addresses of IPv6.
type sited struct {
	net.Listener
	at map[string]string
}

type sitedConn struct {
	net.Conn
	remote net.Addr
}

func (c sitedConn) RemoteAddr() net.Addr { return c.remote }

func (l sited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	from := *c.RemoteAddr().(*net.TCPAddr)
	from.IP = net.ParseIP(l.at[from.IP.String()])
	return sitedConn{c, &from}, nil
}

// Strangers of one /64 share what one may, however many addresses they have; a node of
// that /64 is let in meanwhile, and its being there lets in none of them.
func TestANodeAmongStrangersOfItsNetwork(t *testing.T) {
	ca := newCA(t, "pine")
	oak, ash := newHolder(t, ca, "oak"), newHolder(t, ca, "ash")
	at := map[string]string{"127.0.0.2": "2001:db8:0:1::2", "127.0.0.3": "2001:db8:0:1:a::3", "127.0.0.4": "2001:db8:0:1:b::4", "127.0.0.5": "2001:db8:0:2::5"}
	m := runMux(t, oak, func(c *MuxConfig) {
		c.Listener = sited{c.Listener, at}
		pacedBy(oak, c)
	})
	echo(t, m.HTTP(), "http")
	in := func(from string, conf *tls.Config, times int) int { return getIn(m, from, conf, times) }
	node, stranger := ash.ClientConfig("", oak.ID()), PinnedConfig(ca.Pin())
	if n := in("127.0.0.4", node, 1); n != 1 {
		t.Fatal("a node is not let in")
	}
	if n := in("127.0.0.2", stranger, 6) + in("127.0.0.3", stranger, 20); n != 9 { // the node's first was one
		t.Errorf("strangers of its network were let in %d times", n)
	}
	if n := in("127.0.0.4", node, 20); n != 20 {
		t.Errorf("a node of that network was let in %d times of 20", n)
	}
	if n := in("127.0.0.5", stranger, 20); n != 10 {
		t.Errorf("strangers of another network were let in %d times", n)
	}
	for remote, want := range map[string]string{"[2001:db8:0:1:b::4]:7": "2001:db8:0:1:b::4", "[2001:db8:0:1:b::5]:7": "2001:db8:0:1::/64", "[::ffff:10.0.0.1]:7": "10.0.0.1"} {
		if source, _ := m.sourceOf(remote); source != want {
			t.Errorf("%s is charged to %s, not to %s", remote, source, want)
		}
	}
}
