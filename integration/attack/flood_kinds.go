package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// kinds are what floods are made of, each once from one of many places. What
// becomes of it is for those to see who are not in the flood.
var kinds = map[string]func(f *flooding, i int){
	"hello":   (*flooding).hello,
	"idle":    (*flooding).idle,
	"slow":    (*flooding).slow,
	"join":    (*flooding).join,
	"resets":  (*flooding).resets,
	"streams": (*flooding).streams,
	"socket":  (*flooding).socket,
	"dev":     func(*flooding, int) {},
}

// hello sends the first message of a handshake, waits for the answer, which is
// most of the server's work, and begins another.
func (f *flooding) hello(i int) {
	c, err := f.dial(i)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = c.Write(hi())
	_, _ = c.Read(make([]byte, 4096))
}

// hi is what a client of ours says first.
var hi = sync.OnceValue(func() []byte {
	here, there := net.Pipe()
	go func() {
		_ = tls.Client(here, anyone("h2")).Handshake() // cut below
	}()
	b := make([]byte, 1<<16)
	n, err := there.Read(b)
	if err != nil {
		panic(err)
	}
	there.Close()
	return bytes.Clone(b[:n])
})

func anyone(alpn string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}}
}

// secure is a connection after its handshake, nil if there is none.
func (f *flooding) secure(i int, alpn string) *tls.Conn {
	raw, err := f.dial(i)
	if err != nil {
		return nil
	}
	c := tls.Client(raw, anyone(alpn))
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	if c.Handshake() != nil {
		raw.Close()
		return nil
	}
	_ = raw.SetDeadline(time.Time{})
	return c
}

// idle says nothing until it is thrown out.
func (f *flooding) idle(i int) {
	if c := f.secure(i, "http/1.1"); c != nil {
		_, _ = io.Copy(io.Discard, c)
		c.NetConn().Close()
	}
}

// slow sends a request byte by byte.
func (f *flooding) slow(i int) {
	c := f.secure(i, "http/1.1")
	if c == nil {
		return
	}
	defer c.NetConn().Close()
	if _, err := io.WriteString(c, "POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 32768\r\nX: "+strings.Repeat("x", 12<<10)+"\r\n\r\n"); err != nil {
		return
	}
	for {
		if _, err := c.Write([]byte{' '}); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// over2 is a client of one connection of HTTP/2.
func (f *flooding) over2(i int) (c *http.Client, end func()) {
	tr := &http.Transport{ForceAttemptHTTP2: true, DisableCompression: true, TLSClientConfig: anyone("h2"), DialContext: func(context.Context, string, string) (net.Conn, error) { return f.dial(i) }}
	return &http.Client{Transport: tr, Timeout: time.Minute}, tr.CloseIdleConnections
}

// many calls ask at once on one connection, until all have ended.
func (f *flooding) many(i int, ask func(*http.Client)) {
	c, end := f.over2(i)
	defer end()
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() { f.done.Add(1); ask(c) })
	}
	all.Wait()
}

// join sends bodies of 4 MiB.
func (f *flooding) join(i int) {
	f.many(i, func(c *http.Client) {
		res, err := c.Post("https://"+f.addr+"/v1/join", "application/json", io.LimitReader(spaces{}, 4<<20))
		drop(res, err)
	})
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func drop(res *http.Response, err error) {
	if err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
}

// resets begins requests and takes them back.
func (f *flooding) resets(i int) {
	f.many(i, func(c *http.Client) {
		for range 100 {
			ctx, cancel := context.WithCancel(context.Background())
			q, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+f.addr+"/v1/health", nil)
			if err != nil {
				panic(err)
			}
			time.AfterFunc(time.Millisecond, cancel)
			drop(c.Do(q))
			cancel()
			f.done.Add(1)
		}
	})
}

// streams follows the events as a user until it is thrown out.
func (f *flooding) streams(i int) {
	f.many(i, func(c *http.Client) {
		q, err := http.NewRequest(http.MethodGet, "https://"+f.addr+"/v1/events", nil)
		if err != nil {
			panic(err)
		}
		q.Header.Set("Accept", "text/event-stream")
		q.Header.Set("Authorization", "Bearer "+f.token)
		drop(c.Do(q))
	})
}

// socket connects to a unix socket and says nothing.
func (f *flooding) socket(int) {
	c, err := net.Dial("unix", f.addr)
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return
	}
	_, _ = io.Copy(io.Discard, c)
	c.Close()
}
