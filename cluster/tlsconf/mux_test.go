package tlsconf

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api/budget"
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
		bare := &tls.Config{RootCAs: oak.trusts.Load().pool, ServerName: AnyNode, NextProtos: []string{proto}}
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
		res, err := (&http.Client{Transport: tc.rt, Timeout: time.Minute}).Get("https://" + l.Addr().String())
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
			if got, err := ask(m, ash.ClientConfig(ProtoRaft, oak.ID())); err != nil || got != "raft" {
				t.Fatalf("after %d hostile clients: %q, %v", i+1, got, err)
			}
		}
	}
	if n := m.underWay(); n > 64 {
		t.Errorf("%d handshakes at once", n)
	}
	eventually(t, "goroutines are bounded", func() bool { return runtime.NumGoroutine() <= before+3*64 })
	for _, c := range conns {
		c.Close()
	}
	eventually(t, "nothing is left", func() bool { return m.underWay() == 0 && runtime.NumGoroutine() <= before+2 })
}

func TestMuxCutsSlowHandshakes(t *testing.T) {
	oak := newHolder(t, newCA(t, "pine"), "oak")
	m := runMux(t, oak, func(c *MuxConfig) { c.HandshakeTimeout = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", m.conf.Listener.Addr().String())
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	if _, err := conn.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a silent client was kept: %v", err)
	}
}

func TestMuxBoundsWhatNobodyAccepts(t *testing.T) {
	ca := newCA(t, "pine")
	oak, ash := newHolder(t, ca, "oak"), newHolder(t, ca, "ash")
	m := runMux(t, oak, func(c *MuxConfig) { c.HandshakeTimeout = 2 * time.Second })
	l := m.HTTP()
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	// Nobody accepts raft: what does not fit the backlog is closed in time.
	m.Listener(ProtoRaft)
	for range acceptBacklog + 4 {
		c, err := tls.Dial("tcp", l.Addr().String(), ash.ClientConfig(ProtoRaft, ""))
		check(t, err)
		open = append(open, c)
	}
	eventually(t, "the overflow is closed", func() bool { return m.underWay() == 0 })
}

// TestConnectionsOfStrangers: an address opens many more connections than there
// may be, and says nothing on them: it loses its own oldest, while another
// address, who turned out to be known and nodes keep theirs.
func TestConnectionsOfStrangers(t *testing.T) {
	ca := newCA(t, "pine")
	oak, ash := newHolder(t, ca, "oak"), newHolder(t, ca, "ash")
	conns := budget.NewConns([3]budget.Limits{{Total: 16, Each: 12}, {Total: 4, Each: 2}, {Total: 4, Each: 2}}, quiet, nil)
	m := runMux(t, oak, func(c *MuxConfig) {
		c.HTTPConns = conns
		c.Who = func(cs tls.ConnectionState) (budget.Who, bool) {
			id, ok := oak.NodeOf(cs)
			return budget.Who{Class: budget.Trusted, Name: id}, ok
		}
	})
	l := m.HTTP()
	dial := func(from string, conf *tls.Config) (here, there net.Conn) {
		d := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}, Config: conf}
		here, err := d.Dial("tcp", l.Addr().String())
		check(t, err)
		t.Cleanup(func() { here.Close() })
		there, err = l.Accept()
		check(t, err)
		return here, there
	}
	within := func(c net.Conn, wait time.Duration) bool {
		check(t, c.SetReadDeadline(time.Now().Add(wait)))
		_, err := c.Read(make([]byte, 1))
		var late net.Error
		return !errors.As(err, &late) || !late.Timeout()
	}
	ended := func(c net.Conn) bool { return within(c, time.Minute) }
	open := func(c net.Conn) bool { return !within(c, 10*time.Millisecond) }
	stranger := PinnedConfig(ca.Pin())
	node, _ := dial("127.0.0.2", ash.ClientConfig("", oak.ID()))
	other, _ := dial("127.0.0.3", stranger)
	user, there := dial("127.0.0.2", stranger)
	ctx := budget.ConnContext(t.Context(), there)
	budget.Known(ctx, budget.Who{Class: budget.User, Name: "token ci"})
	var flood []net.Conn
	for range 160 {
		c, _ := dial("127.0.0.2", stranger)
		flood = append(flood, c)
	}
	for name, c := range map[string]net.Conn{"of a node": node, "of another address": other, "of a user": user, "the flood's newest": flood[159]} {
		if !open(c) {
			t.Errorf("the connection %s was closed", name)
		}
	}
	if !ended(flood[0]) || !ended(flood[147]) || !open(flood[148]) {
		t.Error("the oldest of the flood are open, or others are not")
	}
	for i := range 40 { // from many addresses, each with less than the first
		if c, _ := dial(fmt.Sprintf("127.0.1.%d", i%8), stranger); i == 39 && !open(c) {
			t.Error("who comes last is not let in")
		}
	}
	if n := conns.Open(budget.Stranger); n > 16 {
		t.Errorf("%d connections of strangers", n)
	}
	if c, _ := dial("127.0.0.2", ash.ClientConfig("", oak.ID())); !open(c) || !open(node) || !open(user) {
		t.Error("a node or a user is kept out by strangers")
	}
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
}

// pacedBy has a mux let in ten of who is not a node, and all who are.
func pacedBy(h *Holder, c *MuxConfig) {
	c.Accepts = budget.Pace{Second: 1e-9, Burst: 10}
	c.Who = func(cs tls.ConnectionState) (budget.Who, bool) {
		id, ok := h.NodeOf(cs)
		return budget.Who{Class: budget.Trusted, Name: id}, ok
	}
}

// getIn counts how often somebody who connects from an address is served.
func getIn(m *Mux, from string, conf *tls.Config, times int) (n int) {
	for range times {
		d := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}, Config: conf}
		c, err := d.Dial("tcp", m.HTTP().Addr().String())
		if err != nil {
			continue
		}
		if _, err := io.ReadAll(c); err == nil {
			n++
		}
		c.Close()
	}
	return n
}

// TestAcceptsArePaced: an address that connects faster than it may is turned away
// before anything is computed, while others, and those where a node is, get in.
func TestAcceptsArePaced(t *testing.T) {
	ca := newCA(t, "pine")
	oak, ash := newHolder(t, ca, "oak"), newHolder(t, ca, "ash")
	m := runMux(t, oak, func(c *MuxConfig) {
		pacedBy(oak, c)
	})
	echo(t, m.HTTP(), "http")
	in := func(from string, conf *tls.Config, times int) int { return getIn(m, from, conf, times) }
	for from, conf := range map[string]*tls.Config{"127.0.0.2": PinnedConfig(ca.Pin()), "127.0.0.3": PinnedConfig(ca.Pin())} {
		if n := in(from, conf, 20); n != 10 {
			t.Errorf("%s got in %d times", from, n)
		}
	}
	if n := in("127.0.0.4", ash.ClientConfig("", oak.ID()), 20); n != 20 {
		t.Errorf("a node got in %d times", n)
	}
}

// TestWhereANodeIsIsForgotten: an address is another's some day, so a node proves
// from time to time that it is there.
func TestWhereANodeIsIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMux(MuxConfig{Log: quiet})
		m.seeNode("10.0.0.1")
		for range 3 {
			time.Sleep(nodeAddressLives)
			if m.kin("10.0.0.1") != ofNodes {
				t.Error("a node is taken for a stranger")
			}
			m.seeNode("10.0.0.1")
		}
		time.Sleep(nodeAddressLives + time.Second)
		if m.kin("10.0.0.1") != ofOthers || len(m.nodes) > 0 {
			t.Error("whoever is where a node was is taken for it")
		}
	})
}
