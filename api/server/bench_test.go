package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
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

// BenchmarkLogs is what a byte of a log costs from the executor to a reader:
// text in the pieces of a buffered program and in lines, and bytes of chance.
func BenchmarkLogs(b *testing.B) {
	const total = 8 << 20
	line := []byte("a line of text that is some eighty characters long, as lines of logs often are.\n")
	noise := make([]byte, 32<<10)
	rand.NewChaCha8([32]byte{}).Read(noise)
	for name, piece := range map[string][]byte{"text": bytes.Repeat(line, 400), "lines": line, "chance": noise} {
		for _, accept := range []string{"application/x-ndjson", "application/octet-stream"} {
			b.Run(name+"/"+accept, func(b *testing.B) {
				n := newLeader(b)
				token := n.token(api.RoleViewer)
				n.logs = func(_ context.Context, _ LogQuery, emit func(*LogPiece) error) error {
					for sent := 0; sent < total; sent += len(piece) {
						if err := emit(&LogPiece{Time: testTime, Stream: "stdout", Data: piece, Pos: [2]int64{int64(sent + len(piece)), 0}}); err != nil {
							return err
						}
					}
					return nil
				}
				b.SetBytes(total)
				for b.Loop() {
					res, err := n.http.Client().Do(n.newRequest(n.http, request{method: "GET", path: "/v1/local/tasks/sums.0/logs", token: token, header: http.Header{"Accept": {accept}}}))
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, res.Body); err != nil {
						b.Fatal(err)
					}
					res.Body.Close()
				}
			})
		}
	}
}

// BenchmarkLists is the first page of what much waits makes: of as many jobs of a
// task each, and of one array.
func BenchmarkLists(b *testing.B) {
	n := newLeader(b)
	var cmds []fsm.Command
	for range 200_000 {
		s := &api.JobSpec{Kind: api.KindBatch, TaskSpec: api.TaskSpec{Command: []string{"/bin/true"}}}
		s.Normalize()
		cmds = append(cmds, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: s})
	}
	s := &api.JobSpec{Name: "wide", Kind: api.KindBatch, Array: "0-49999", TaskSpec: api.TaskSpec{Command: []string{"x"}}}
	s.Normalize()
	for some := range slices.Chunk(append(cmds, &fsm.JobCreate{Meta: fsm.Meta{At: testTime}, Spec: s}), 1000) {
		if _, err := n.store.Propose(b.Context(), some...); err != nil {
			b.Fatal(err)
		}
	}
	for _, role := range []api.Role{api.RoleAdmin, api.RoleViewer} {
		token := n.token(role)
		for _, path := range []string{"/v1/tasks?fold=1", "/v1/tasks", "/v1/tasks?state=running", "/v1/tasks?job=wide&fold=1", "/v1/tasks?job=wide", "/v1/jobs"} {
			b.Run(role.String()+path, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					n.send(request{method: "GET", path: path, token: token}).want(b, 200)
				}
			})
		}
	}
}
