package keeper

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// A keeper is asked to answer for its tasks before it is asked to start one: were the
// daemon killed in between, nobody would, and the task would be started elsewhere.
func TestAKeeperVouchesBeforeItStarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keeper")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l := listening(t, dir)
	c := NewClient(ClientConfig{Dir: dir, Argv: []string{"/bin/false"}, Log: slog.New(slog.DiscardHandler), Vouch: &Vouch{Addr: netip.MustParseAddrPort("127.0.0.1:9"), Key: make([]byte, 32), Node: "oak"}})
	c.vouching.Lock() // nobody else says so
	ops := make(chan string, 16)
	go func() {
		defer close(ops)
		sock, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer sock.Close()
		k := newConn(sock)
		done := make(chan struct{})
		defer close(done)
		go k.write(done)
		for {
			m, err := k.receive()
			if err != nil {
				return
			}
			if m.Op == opHello {
				_ = k.send(&message{Op: opHello, Hello: &hello{Version: version, MinVersion: minVersion, PID: os.Getpid(), Features: features(), Generation: generation}})
				continue
			}
			ops <- m.Op
			_ = k.send(&message{Op: opAnswer, Seq: m.Seq, Error: toWire(errors.New("it does nothing"))})
			if m.Op == opStart {
				<-t.Context().Done()
				return
			}
		}
	}()
	if _, err := c.Start(t.Context(), StartRequest{ID: "a.0/1"}); err == nil {
		t.Error("it starts something")
	}
	vouched := false
	for op := range ops {
		vouched = vouched || op == opVouch
		if op == opStart {
			break
		}
	}
	if !vouched {
		t.Error("it is to start a task that nobody answers for")
	}
	c.vouching.Unlock()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
