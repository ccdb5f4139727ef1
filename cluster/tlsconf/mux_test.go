package tlsconf

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestMuxPicksByProtocol(t *testing.T) {
	ca := newCA(t, "pine")
	oak, ash := newHolder(t, ca, "oak"), newHolder(t, ca, "ash")
	m := runMux(t, oak, nil)
	echo(t, m.Listener(ProtoRaft), "raft")
	echo(t, m.Listener(ProtoGossip), "gossip")
	for proto, want := range map[string]string{ProtoRaft: "raft", ProtoGossip: "gossip"} {
		if got, err := ask(m, ash.ClientConfig(proto, oak.ID())); err != nil || got != want {
			t.Errorf("%s: %q, %v", proto, got, err)
		}
		bare := &tls.Config{RootCAs: oak.roots, ServerName: AnyNode, NextProtos: []string{proto}}
		if got, err := ask(m, bare); err == nil {
			t.Errorf("%s without a certificate: %q", proto, got)
		}
	}
	if got, err := ask(m, ash.ClientConfig("mesita/other", "")); err == nil {
		t.Errorf("unknown protocol: %q", got)
	}
	if got, err := ask(m, ash.ClientConfig("", "")); err == nil {
		t.Errorf("HTTP with no HTTP listener: %q", got)
	}
}

func TestMuxServesHTTP(t *testing.T) {
	ca := newCA(t, "pine")
	oak, ash := newHolder(t, ca, "oak"), newHolder(t, ca, "ash")
	m := runMux(t, oak, nil)
	srv := &http.Server{ConnContext: oak.ConnContext, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := PeerOf(r.Context())
		fmt.Fprintf(w, "%s %s", r.Proto, p.ID)
	})}
	l := m.HTTP()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	defer func() { srv.Close(); <-done }()
	for name, tc := range map[string]struct {
		rt   *http.Transport
		want string
	}{
		"h2, node":      {&http.Transport{TLSClientConfig: ash.ClientConfig("", oak.ID()), ForceAttemptHTTP2: true}, "HTTP/2.0 " + ash.ID()},
		"h1, node":      {&http.Transport{TLSClientConfig: ash.ClientConfig("", "")}, "HTTP/1.1 " + ash.ID()},
		"joiner by pin": {&http.Transport{TLSClientConfig: PinnedConfig(ca.Pin()), ForceAttemptHTTP2: true}, "HTTP/2.0 "},
	} {
		res, err := (&http.Client{Transport: tc.rt, Timeout: 10 * time.Second}).Get("https://" + l.Addr().String())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		tc.rt.CloseIdleConnections()
		if err != nil || string(body) != tc.want {
			t.Errorf("%s: %q, %v, want %q", name, body, err, tc.want)
		}
	}
}

// TestMuxHostileClients: thousands of connections that never say anything, or
// nonsense, while a node gets through at once; then nothing is left of them.
func TestMuxHostileClients(t *testing.T) {
	ca := newCA(t, "pine")
	oak, ash := newHolder(t, ca, "oak"), newHolder(t, ca, "ash")
	m := runMux(t, oak, func(c *MuxConfig) { c.MaxHandshakes = 64; c.HandshakeTimeout = time.Minute })
	echo(t, m.Listener(ProtoRaft), "raft")
	before := runtime.NumGoroutine()
	addr := m.conf.Listener.Addr().String()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	garbage := [][]byte{nil, []byte("GET / HTTP/1.1\r\n\r\n"), bytes.Repeat([]byte{0xff}, 4096), {22, 3, 1, 0xff, 0xff}, {22, 3, 1, 2, 0, 1}}
	for i := range 1000 {
		c, err := net.Dial("tcp", addr)
		check(t, err)
		conns = append(conns, c)
		_, _ = c.Write(garbage[i%len(garbage)]) // may be reset already
		if i%250 == 249 {
			begin := time.Now()
			if got, err := ask(m, ash.ClientConfig(ProtoRaft, oak.ID())); err != nil || got != "raft" {
				t.Fatalf("after %d hostile clients: %q, %v", i+1, got, err)
			}
			if d := time.Since(begin); d > 5*time.Second {
				t.Errorf("after %d hostile clients: took %s", i+1, d)
			}
		}
	}
	if n := m.pending.len(); n > 64 {
		t.Errorf("%d handshakes at once", n)
	}
	eventually(t, "goroutines are bounded", func() bool { return runtime.NumGoroutine() <= before+3*64 })
	for _, c := range conns {
		c.Close()
	}
	eventually(t, "nothing is left", func() bool { return m.pending.len() == 0 && runtime.NumGoroutine() <= before+2 })
}

func TestMuxCutsSlowHandshakes(t *testing.T) {
	oak := newHolder(t, newCA(t, "pine"), "oak")
	m := runMux(t, oak, func(c *MuxConfig) { c.HandshakeTimeout = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", m.conf.Listener.Addr().String())
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	if _, err := conn.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a silent client was kept: %v", err)
	}
}

func TestMuxBoundsWhatNobodyAccepts(t *testing.T) {
	ca := newCA(t, "pine")
	oak, ash := newHolder(t, ca, "oak"), newHolder(t, ca, "ash")
	m := runMux(t, oak, func(c *MuxConfig) { c.HandshakeTimeout = 2 * time.Second; c.MaxHTTPConns = 2 })
	l := m.HTTP()
	var taken, open []net.Conn
	defer func() {
		for _, c := range append(taken, open...) {
			c.Close()
		}
	}()
	for range 2 {
		c, err := tls.Dial("tcp", l.Addr().String(), ash.ClientConfig("", ""))
		check(t, err)
		open = append(open, c)
		s, err := l.Accept()
		check(t, err)
		taken = append(taken, s)
	}
	if _, err := ask(m, ash.ClientConfig("", "")); err == nil {
		t.Error("a third HTTP connection was taken")
	}
	taken[0].Close()
	open[0].Close()
	c, err := tls.Dial("tcp", l.Addr().String(), ash.ClientConfig("", ""))
	check(t, err)
	open = append(open, c)
	s, err := l.Accept()
	check(t, err)
	taken = append(taken, s)

	// Nobody accepts raft: what does not fit the backlog is closed in time.
	m.Listener(ProtoRaft)
	for range acceptBacklog + 4 {
		c, err := tls.Dial("tcp", l.Addr().String(), ash.ClientConfig(ProtoRaft, ""))
		check(t, err)
		open = append(open, c)
	}
	eventually(t, "the overflow is closed", func() bool { return m.pending.len() == 0 })
}

func TestVictimIsTheGreediest(t *testing.T) {
	s := newPendingSet(4)
	cut := map[string]int{}
	add := func(source, name string) { s.add(source, func() { cut[name]++ }) }
	add("victim", "v1")
	add("flood", "f1")
	add("flood", "f2")
	add("flood", "f3")
	add("flood", "f4")
	add("flood", "f5")
	if cut["f1"] != 1 || cut["f2"] != 1 || cut["v1"] != 0 || len(cut) != 2 || s.len() != 4 {
		t.Errorf("cut %v, %d left", cut, s.len())
	}
	for _, tc := range [][2]string{{"1.2.3.4:5", "1.2.3.4"}, {"[::ffff:1.2.3.4]:5", "1.2.3.4"}, {"[2001:db8::1]:5", "2001:db8::/64"}, {"[fe80::1%lo]:5", "fe80::/64"}} {
		addr := stringAddr(tc[0])
		if got := sourceOf(addr); got != tc[1] {
			t.Errorf("%s: %s, want %s", tc[0], got, tc[1])
		}
	}
}

type stringAddr string

func (stringAddr) Network() string  { return "tcp" }
func (a stringAddr) String() string { return string(a) }
