package server

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

// pipeListener hands out the far ends of in-memory connections.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (l *pipeListener) dial() net.Conn {
	near, far := net.Pipe()
	l.conns <- far
	return near
}

// BenchmarkCreateJob is what one submitted job costs a leader without
// consensus: HTTP, JSON both ways, checks, the log's encoding, apply.
func BenchmarkCreateJob(b *testing.B) {
	n := newLeader(b)
	token := n.token(api.RoleOperator)
	l := newPipeListener()
	srv := NewHTTPServer(n.server.Handler(auth.Bearer), slog.New(slog.DiscardHandler))
	go srv.Serve(l)
	defer srv.Close()
	body := `{"kind":"batch","command":["/bin/true","--some","--arguments"],"cpus":0.1,"mem":"64MiB","env":{"A":"b"}}`
	var key atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		c := l.dial()
		defer c.Close()
		in := bufio.NewReader(c)
		var buf []byte
		for pb.Next() {
			buf = fmt.Appendf(buf[:0], "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: k%d\r\nContent-Length: %d\r\n\r\n%s", token, key.Add(1), len(body), body)
			if _, err := c.Write(buf); err != nil {
				b.Error(err)
				return
			}
			res, err := http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != 201 {
				b.Errorf("%v %v", res, err)
				return
			}
			io.Copy(io.Discard, res.Body)
		}
	})
}

// A scrape costs as much with a million tasks as with none: sums are kept.
func BenchmarkMetricsMillionTasks(b *testing.B) {
	n := newLeader(b)
	for i := range 20 {
		s := &api.JobSpec{Name: fmt.Sprintf("a%d", i), Kind: api.KindBatch, Array: "0-49999", TaskSpec: api.TaskSpec{Command: []string{"x"}}}
		s.Normalize()
		do(b, n.store, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: s})
	}
	token := n.token(api.RoleViewer)
	for b.Loop() {
		n.send(request{method: "GET", path: "/metrics", token: token}).want(b, 200)
		n.send(request{method: "GET", path: "/v1/partitions", token: token}).want(b, 200)
	}
}
