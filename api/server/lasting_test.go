package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// lasting is how each request that lasts is made. What is missing here fails
// the test.
var lasting = map[string]string{
	"GET /v1/jobs/{id}":              "/v1/jobs/sums?wait=ended&timeout=10m",
	"GET /v1/tasks/{id}/logs":        "/v1/tasks/sums.0/logs?follow=1",
	"POST /v1/tasks/{id}/exec":       "/v1/tasks/sums.0/exec?cmd=sleep",
	"GET /v1/local/tasks/{id}/logs":  "/v1/local/tasks/sums.0/logs?follow=1",
	"POST /v1/local/tasks/{id}/exec": "/v1/local/tasks/sums.0/exec?cmd=sleep",
	"GET /v1/events":                 "/v1/events",
	"GET /v1/internal/feed":          "/v1/internal/feed",
	"GET /v1/internal/assignments":   "/v1/internal/assignments",
	"PUT /v1/blobs/{digest}":         "/v1/blobs/" + helloDigest,
	"GET /v1/blobs/{digest}":         "", // ends with its reader, who is cut when it does not take a part in time
	"HEAD /v1/blobs/{digest}":        "",
}

// endless makes the executor's answers continue for as long as they may.
func (n *testNode) endless() {
	n.logs = func(ctx context.Context, _ LogQuery, emit func(*LogPiece) error) error {
		if err := emit(&LogPiece{Time: testTime, Stream: "stdout", Data: []byte("line\n")}); err != nil {
			return err
		}
		if err := emit(nil); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	n.exec = func(ctx context.Context, _ ExecRequest, start func() (ExecIO, error)) (int, error) {
		if _, err := start(); err != nil {
			return 0, err
		}
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}
}

// open sends a request that lasts, and returns once it does, with what is to be
// read of it.
func (n *testNode) open(rt *exchange.Route, path, token, cert string) io.Reader {
	n.t.Helper()
	before := n.server.http.Holding()
	c := n.dial()
	head := "Accept: text/event-stream\r\n"
	switch {
	case rt.Method == http.MethodPost:
		head = "Connection: Upgrade\r\nUpgrade: mesita-exec\r\n"
	case rt.Method == http.MethodPut:
		head = "Content-Length: 5\r\n"
	}
	if cert != "" {
		head += testCert + ": " + cert + "\r\n"
	} else {
		head += "Authorization: Bearer " + token + "\r\n"
	}
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", rt.Method, path, head)
	until(n.t, rt.Method+" "+path+" to last", func() bool { return n.server.http.Holding() > before })
	in := bufio.NewReader(c)
	if rt.Held != "" || rt.Method == http.MethodPut { // nothing is answered before the end
		return &answered{in: in}
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode >= 300 {
		n.t.Fatalf("%s %s: %+v, %v", rt.Method, path, res, err)
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return in
	}
	return res.Body
}

// answered is the body of an answer that is to come.
type answered struct {
	in   *bufio.Reader
	body io.Reader
}

func (a *answered) Read(p []byte) (int, error) {
	if a.body == nil {
		res, err := http.ReadResponse(a.in, nil)
		if err != nil {
			return 0, err
		}
		a.body = res.Body
	}
	return a.body.Read(p)
}

// TestWhatLastsEndsWithItsToken: whatever a token opened ends when the token
// does, at each node that it was opened through, and says why.
func TestWhatLastsEndsWithItsToken(t *testing.T) {
	oak, elm := runningOnOak(t)
	oak.endless()
	elm.endless()
	for _, rt := range routeTable(nil) {
		if !rt.Lasting() {
			continue
		}
		name := rt.Method + " " + rt.Path
		path, ok := lasting[name]
		if !ok {
			t.Errorf("%s lasts: say in this test how it is opened", name)
		}
		if path == "" {
			continue
		}
		for _, through := range []*testNode{elm, oak} { // the leader, and a node that passes it on or has the task
			if strings.Contains(rt.Path, "/local/") {
				through = oak
			}
			oak.world.lead("elm")
			var token, cert string
			end := func() { do(t, oak.store, &fsm.TokenRevoke{Meta: fsm.Meta{At: testTime}, ID: tokenID(token)}) }
			if rt.Action == auth.BeNode {
				if through != elm {
					continue // a node follows the leader
				}
				addNode(t, oak.store, "gone-"+rt.Path[len(rt.Path)-4:])
				cert = "gone-" + rt.Path[len(rt.Path)-4:]
				end = func() { do(t, oak.store, &fsm.NodeRemove{Meta: fsm.Meta{At: testTime}, ID: cert, Force: true}) }
			} else {
				token = oak.token(least[name])
			}
			in := through.open(rt, path, token, cert)
			end()
			rest, err := io.ReadAll(in)
			if late := net.Error(nil); errors.As(err, &late) && late.Timeout() { // how else it is cut off does not matter
				t.Errorf("%s through %s continues after its end: %v", name, through.id, err)
			}
			told := rt.Method != http.MethodPost || strings.Contains(rt.Path, "/local/") // who is passed on to an exec asks by itself
			if cert == "" && told && !strings.Contains(string(rest), "revoked") {
				t.Errorf("%s through %s does not say why it ended: %q", name, through.id, rest)
			}
			until(t, name+" to be over everywhere", func() bool {
				return oak.server.http.Holding()+elm.server.http.Holding() == 0 && oak.server.http.Streams()+elm.server.http.Streams() == 0
			})
		}
	}
}

func tokenID(secret string) string {
	shown, _ := api.ParseClientToken(secret)
	id := shown.ID
	return id
}

// TestWhatLastsEndsAtItsTime: a token that expires ends what it opened, and one
// that the leader checked for a node without a replica is asked for again.
func TestWhatLastsEndsAtItsTime(t *testing.T) {
	n := newLeader(t)
	n.endless()
	var late atomic.Int64
	n.auth = auth.New(auth.Config{Directory: func() auth.Directory { return n.store.View() }, Final: n.IsLeader,
		Now: func() time.Time { return testTime.Add(time.Duration(late.Load())) }})
	n.server.http.Auth = n.auth
	n.server.http.Patience.Look = 5 * time.Millisecond
	tok, secret := auth.NewToken(&api.TokenRequest{Kind: api.TokenClient, Role: api.RoleViewer, TTL: api.Duration(time.Hour)}, testTime)
	do(t, n.store, &fsm.TokenCreate{Meta: fsm.Meta{At: testTime}, Token: tok})
	in := n.open(&exchange.Route{Method: "GET"}, "/v1/events", api.ClientToken{ID: tok.ID, Secret: secret}.String(), "")
	late.Store(int64(time.Hour))
	if rest, _ := io.ReadAll(in); !strings.Contains(string(rest), "event: error") || !strings.Contains(string(rest), "expired") {
		t.Errorf("%q", rest)
	}

	w := newWorld()
	leader := newTestNode(t, w, "oak", newStore(t))
	worker := newTestNode(t, w, "ash", fsm.NewStore(nil))
	w.lead("oak")
	worker.endless()
	worker.server.http.Patience.Look = 5 * time.Millisecond
	token := leader.token(api.RoleViewer)
	in = worker.open(&exchange.Route{Method: "GET"}, "/v1/local/tasks/sums.0/logs?follow=1", token, "")
	do(t, leader.store, &fsm.TokenRevoke{Meta: fsm.Meta{At: testTime}, ID: tokenID(token)})
	if rest, _ := io.ReadAll(in); !strings.Contains(string(rest), `"error"`) {
		t.Errorf("%q", rest)
	}
}

// TestOnlyWhatSaysSoLasts: a handler of a route that does not say that it lasts
// cannot stream.
func TestOnlyWhatSaysSoLasts(t *testing.T) {
	n := newLeader(t)
	s := exchange.New(n.server.http.Config, []*exchange.Route{{Method: get, Path: "/x", Action: auth.Look, Scope: auth.OfAny, Handle: func(c *exchange.Call) (any, error) {
		return exchange.Done{}, exchange.NewStream(c).Begin("text/plain")
	}}})
	n.server.http = s
	h := s.Handler(auth.TLS)
	n.http.Config.Handler = h
	n.send(request{method: "GET", path: "/x", token: n.token(api.RoleViewer)}).want(t, 500)
}

// TestTheLastOutputArrives: a command that ends without having read its input
// loses nothing of its output, directly and through a node that passes it on.
func TestTheLastOutputArrives(t *testing.T) {
	oak, elm := runningOnOak(t)
	token := oak.token(api.RoleOperator)
	want := strings.Repeat("x", 600<<10)
	for _, through := range []*testNode{oak, elm} {
		oak.world.lead(through.id)
		go1 := make(chan struct{})
		oak.exec = func(_ context.Context, _ ExecRequest, start func() (ExecIO, error)) (int, error) {
			streams, err := start()
			if err != nil {
				return 0, err
			}
			<-go1
			_, err = io.WriteString(streams.Stdout, want)
			return 7, err
		}
		out, in, res := through.upgrade(token, "?cmd=head")
		if res.StatusCode != 101 {
			t.Fatal(res.Status)
		}
		for range 16 {
			if _, err := out.Write(frame(frameStdin, strings.Repeat("y", 4<<10))); err != nil {
				t.Fatal(err)
			}
		}
		close(go1)
		until(t, "the exec to be over", func() bool { return oak.server.http.Streams()+elm.server.http.Streams() == 0 })
		got := map[byte]string{}
		for buf := make([]byte, maxFrame); ; {
			kind, p, err := readFrame(in, buf)
			if err != nil {
				break
			}
			got[kind] += string(p)
		}
		if got[frameStdout] != want || got[frameExit] != "\x00\x00\x00\x07" {
			t.Errorf("through %s: %d bytes of %d, exit %q", through.id, len(got[frameStdout]), len(want), got[frameExit])
		}
	}
}

// TestOutputThatNobodyTakes: a command whose output is not taken is ended, and
// holds nothing up for ever.
func TestOutputThatNobodyTakes(t *testing.T) {
	oak, _ := runningOnOak(t)
	oak.world.lead("oak")
	oak.server.http.Patience.Exec = 30 * time.Millisecond
	ended := make(chan error, 1)
	oak.exec = func(ctx context.Context, _ ExecRequest, start func() (ExecIO, error)) (int, error) {
		streams, err := start()
		if err != nil {
			return 0, err
		}
		for err == nil {
			_, err = streams.Stdout.Write(make([]byte, 64<<10))
		}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return 0, context.Cause(ctx)
	}
	if _, _, res := oak.upgrade(oak.token(api.RoleOperator), "?cmd=yes"); res.StatusCode != 101 {
		t.Fatal(res.Status)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "takes nothing") {
		t.Errorf("ended by %v", err)
	}
	until(t, "the exec to be over", func() bool { return oak.server.http.Streams() == 0 })
}
