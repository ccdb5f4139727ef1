package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
)

var quiet = slog.New(slog.DiscardHandler)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls for a condition, at most a minute: that ends a test that is stuck.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func newCA(t *testing.T, cluster string) *CA {
	t.Helper()
	ca, err := NewCA(cluster, cluster+"-id", time.Now())
	check(t, err)
	return ca
}

func issue(t *testing.T, ca *CA, key *NodeKey, name string, life time.Duration) []byte {
	t.Helper()
	csr, err := key.CSR()
	check(t, err)
	id := NodeIdentity{ID: key.ID(), Name: name, ClusterID: ca.cert.Subject.Organization[0]}
	cert, err := ca.Sign(csr, id, time.Now(), life)
	check(t, err)
	return cert
}

func newHolder(t *testing.T, ca *CA, name string) *Holder {
	t.Helper()
	key, err := NewNodeKey()
	check(t, err)
	h, err := NewHolder(key, issue(t, ca, key, name, time.Hour), ca.CertPEM(), nil)
	check(t, err)
	return h
}

// runMux serves h on a loopback port until the test ends.
func runMux(t *testing.T, h *Holder, change func(*MuxConfig)) *Mux {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	conf := MuxConfig{Listener: ln, TLS: h.ServerConfig(Protocols()), Log: quiet}
	if change != nil {
		change(&conf)
	}
	m := NewMux(conf)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("mux: %v", err)
		}
		if n := m.underWay(); n != 0 {
			t.Errorf("%d handshakes left behind", n)
		}
	})
	return m
}

// echo answers each connection of l with one line.
func echo(t *testing.T, l net.Listener, line string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, line)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

// ask dials and reads everything; in TLS 1.3 a refused client certificate
// shows at the first read only.
func ask(m *Mux, conf *tls.Config) (string, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Minute}, Config: conf}
	conn, err := d.Dial("tcp", m.conf.Listener.Addr().String())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", err
	}
	data, err := io.ReadAll(conn)
	if err == nil && len(data) == 0 {
		err = errors.New("closed without an answer")
	}
	return string(data), err
}

func (m *Mux) underWay() int { return m.pending[ofNodes].len() + m.pending[ofOthers].len() }
