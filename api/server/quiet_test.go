package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// quietListener accepts what is dialed in memory, so that time is the bubble's.
type quietListener struct {
	conns chan net.Conn
	tls   *tls.Config
}

func (l quietListener) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	s := tls.Server(c, l.tls)
	return s, s.Handshake()
}

func (l quietListener) Close() error   { close(l.conns); return nil }
func (l quietListener) Addr() net.Addr { return &net.TCPAddr{} }

// quietDoor serves a node over TLS on connections in memory.
func quietDoor(n *testNode, proto string, cert []tls.Certificate) (tr *http.Transport, shut func()) {
	l := quietListener{make(chan net.Conn), &tls.Config{Certificates: cert, NextProtos: []string{proto}}}
	srv := NewHTTPServer(n.server.Handler(auth.TLS), n.server.Log)
	done := make(chan error)
	go func() { done <- srv.Serve(l) }()
	tr = &http.Transport{ForceAttemptHTTP2: proto == "h2", DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		here, there := net.Pipe()
		l.conns <- there
		c := tls.Client(here, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}})
		return c, c.HandshakeContext(ctx)
	}}
	return tr, func() {
		tr.CloseIdleConnections()
		srv.Close()
		<-done
		time.Sleep(time.Minute) // an end of TLS has 5 s to say goodbye to who does not read
	}
}

// TestAnHourOfSilence: what lasts and has nothing to say for an hour is there
// afterwards, over both versions of HTTP, and says every 15 s that it is there
// where its format has a word for that.
func TestAnHourOfSilence(t *testing.T) {
	cert := newLeader(t).http.TLS.Certificates
	for _, proto := range []string{"http/1.1", "h2"} {
		for _, path := range []string{"/v1/events", "/v1/tasks/sums.0/logs?follow=1", "/v1/local/tasks/sums.0/logs?follow=1"} {
			t.Run(proto+path, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { quietHour(t, proto, path, cert) })
			})
		}
	}
}

func quietHour(t *testing.T, proto, path string, cert []tls.Certificate) {
	w := newWorld()
	n := quietNode(t, w, "oak", newStore(t))
	w.lead("oak")
	do(t, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: batchSpec("sums")})
	runTask(t, n.store, "sums", 0)
	again := make(chan struct{})
	n.logs = func(ctx context.Context, _ LogQuery, emit func(*LogPiece) error) error {
		for err := emit(nil); err == nil; err = emit(nil) {
			if err := emit(&LogPiece{Time: testTime, Stream: "stdout", Data: []byte("a line\n")}); err != nil {
				return err
			}
			if err := emit(nil); err != nil {
				return err
			}
			select {
			case <-again:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	tr, shut := quietDoor(n, proto, cert)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://x"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+n.token(api.RoleViewer))
	if path == "/v1/events" {
		r.Header.Set("Accept", "text/event-stream")
	}
	res, err := tr.RoundTrip(r)
	if err != nil || res.StatusCode != 200 || res.Proto[:6] != map[string]string{"h2": "HTTP/2", "http/1.1": "HTTP/1"}[proto] {
		t.Fatalf("%+v, %v", res, err)
	}
	words := make(chan string, 10000)
	go func() {
		defer close(words)
		in := bufio.NewScanner(res.Body)
		for in.Scan() {
			words <- in.Text()
		}
		words <- fmt.Sprint("ended: ", in.Err())
	}()
	time.Sleep(time.Hour)
	synctest.Wait()
	quiet := len(words)
	var before []string
	for range quiet {
		before = append(before, <-words)
	}
	if strings.Contains(strings.Join(before, "\n"), "ended: ") {
		t.Errorf("it ended: %q", before[quiet-1])
	}
	here := strings.Count(strings.Join(before, "\n"), ": still here")
	if path != "/v1/events" {
		for _, line := range before { // an empty one is skipped by who reads JSON
			if line == "" {
				here++
			}
		}
	}
	if here < 239 || here > 240 {
		t.Errorf("%d words in an hour", here)
	}
	if path == "/v1/events" {
		do(t, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: batchSpec("later")})
	} else {
		again <- struct{}{}
	}
	synctest.Wait()
	if len(words) == 0 {
		t.Error("nothing came after an hour of silence")
	}
	cancel()
	res.Body.Close()
	shut()
	for range words {
	}
}
