package server

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
)

// TestStrangersHoldLittle: bodies of nobody, that never end, on many connections
// and streams: each is refused once it is larger than one of a joiner, and nothing
// of it is kept.
func TestStrangersHoldLittle(t *testing.T) {
	n := newLeader(t)
	door := n.listenBy(auth.TLS, true)
	var all sync.WaitGroup
	var refused atomic.Int64 // in words
	for range 20 {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		t.Cleanup(tr.CloseIdleConnections)
		for i := range 16 {
			path := []string{"/v1/join", "/v1/renew"}[i%2]
			all.Go(func() {
				r, err := http.NewRequest(http.MethodPost, door.URL+path, &unending{stop: t.Context().Done()})
				if err != nil {
					t.Error(err)
					return
				}
				res, err := tr.RoundTrip(r)
				if err == nil {
					res.Body.Close()
				}
				switch {
				case err != nil: // the connection was closed, as another stream of it was refused, or too slow
				case res.StatusCode != 413 && res.StatusCode != 429:
					t.Errorf("%s: %+v", path, res)
				default:
					refused.Add(1)
				}
			})
		}
	}
	all.Wait()
	if refused.Load() == 0 {
		t.Error("nobody was told anything")
	}
	until(t, "nothing is held", func() bool { return n.server.http.Held() == 0 })
}

// unending is the first MiB of a body whose rest does not come.
type unending struct {
	sent int
	stop <-chan struct{}
}

func (u *unending) Read(p []byte) (int, error) {
	if u.sent > 1<<20 {
		<-u.stop
		return 0, io.EOF
	}
	for i := range p {
		p[i] = ' '
	}
	u.sent += len(p)
	return len(p), nil
}

// TestSlowBodiesAreBounded: requests as large as anybody may send, that never end, from
// one address: it holds a part of what strangers may, is told when to come
// again, and users are served meanwhile.
func TestSlowBodiesAreBounded(t *testing.T) {
	n := newLeader(t)
	head := "POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 32768\r\nX: " + strings.Repeat("x", 12<<10) + "\r\n\r\n "
	busy := make(chan string, 300)
	for range 200 { // of 45 KiB each
		c := n.dial()
		go func() {
			if _, err := io.WriteString(c, head); err != nil {
				busy <- err.Error()
				return
			}
			b, _ := io.ReadAll(c) // what it was told
			busy <- string(b)
		}()
	}
	for range 60 {
		if told := <-busy; !strings.Contains(told, " 429 ") || !strings.Contains(told, "Retry-After: 5\r\n") || !strings.Contains(told, "127.0.0.1 holds") {
			t.Fatalf("%q", told)
		}
	}
	if held := n.server.http.Held(); held > 5<<20 {
		t.Errorf("%d bytes are held", held)
	}
	n.send(request{method: "GET", path: "/v1/cluster", token: n.token(api.RoleViewer)}).want(t, 200)
}

// TestConnectionsOfHTTP2AreSmall: what a connection may hold before anybody is
// known on it is said in its first frame.
func TestConnectionsOfHTTP2AreSmall(t *testing.T) {
	n := newLeader(t)
	c, err := tls.Dial("tcp", n.listenBy(auth.TLS, true).Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 9)
	if _, err := io.ReadFull(c, head); err != nil {
		t.Fatal(err)
	}
	settings := make([]byte, int(head[1])<<8|int(head[2]))
	if _, err := io.ReadFull(c, settings); err != nil {
		t.Fatal(err)
	}
	got := map[uint16]uint32{}
	for ; len(settings) >= 6; settings = settings[6:] {
		got[binary.BigEndian.Uint16(settings)] = binary.BigEndian.Uint32(settings[2:])
	}
	const streams, window, frame = 3, 4, 5
	if got[streams] == 0 || got[streams] > 32 || got[window] > 64<<10 || got[frame] > 16<<10 {
		t.Errorf("%v", got)
	}
}

// TestStrangersAskSlowly: who shows nothing, or what nobody made, is refused once it
// asks too often, whatever it asks for, and loses its connection; a user at the same
// address is not, be it for what there is not or what it may not.
func TestStrangersAskSlowly(t *testing.T) {
	cert := newLeader(t).http.TLS.Certificates
	for _, q := range []request{{method: "GET", path: "/v1/health"}, {method: "GET", path: "/v1/jobs"}, {method: "POST", path: "/v1/tokens", body: "{}"}, {method: "GET", path: "/v1/nowhere"}, {method: "PATCH", path: "/v1/jobs"}} {
		t.Run(q.method+q.path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { strangerAsks(t, q, cert) })
		})
	}
}

// strangerAsks for the same again and again, in no time.
func strangerAsks(t *testing.T, q request, cert []tls.Certificate) {
	w := newWorld()
	n := quietNode(t, w, "oak", newStore(t))
	w.lead("oak")
	tr, shut := quietDoor(n, "http/1.1", cert)
	defer shut()
	send := func(q request) reply {
		text, _ := q.body.(string)
		r, err := http.NewRequest(q.method, "https://x"+q.path, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if q.token != "" {
			r.Header.Set("Authorization", "Bearer "+q.token)
		}
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return reply{res, b}
	}
	answered := func() (n int) {
		for ; ; n++ {
			if a := send(q); a.StatusCode == http.StatusTooManyRequests {
				if a.Header.Get("Retry-After") == "" || !a.Close {
					t.Fatalf("%+v", a)
				}
				return n
			}
			if n == 5000 {
				t.Fatalf("%d questions of a stranger for %s %s were answered at once", n, q.method, q.path)
			}
		}
	}
	if n := answered(); n < 100 {
		t.Errorf("a stranger that begins to ask is refused after %d", n)
	}
	time.Sleep(time.Second)
	if n := answered(); n == 0 || n > 200 {
		t.Errorf("a second later, %d are answered", n)
	}
	viewer := n.token(api.RoleViewer)
	send(request{method: "GET", path: "/v1/cluster", token: viewer}).want(t, 200)
	send(request{method: "GET", path: "/v1/nowhere", token: viewer}).want(t, 404)
	send(request{method: "POST", path: "/v1/tokens", body: "{}", token: viewer}).want(t, 403)
}

// TestARelayedRefusalCutsNobody: what a node relays of strangers is refused to them,
// and never costs the node its connection.
func TestARelayedRefusalCutsNobody(t *testing.T) {
	n := newLeader(t)
	for range 1000 {
		if a := n.send(request{method: "GET", path: "/v1/jobs", cert: "elm", header: http.Header{auth.HeaderForwarded: {"1"}}}); a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusForbidden || a.Close {
			t.Fatalf("%+v %s", a, a.body)
		}
	}
}
