package server

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
)

// dial opens a raw connection to the server.
func (n *testNode) dial() net.Conn {
	n.t.Helper()
	c, err := tls.Dial("tcp", n.http.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// answerOf reads the answer on a raw connection, and that the connection ends.
func answerOf(t *testing.T, c net.Conn) *http.Response {
	t.Helper()
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.ReadByte(); err == nil {
		t.Error("the connection stays open")
	}
	res.Body = io.NopCloser(strings.NewReader(string(body)))
	return res
}

func TestHugeBodyIsRefusedAtOnce(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleOperator)
	for _, path := range []string{"POST /v1/jobs", "PUT /v1/blobs/" + helloDigest, "POST /v1/join"} {
		c := n.dial()
		// Nothing of the 2 GiB is ever sent: the answer must not wait for it.
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", path, token, 2<<30)
		if res := answerOf(t, c); res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}

func TestEndlessBodyIsCut(t *testing.T) {
	n := newLeader(t)
	c := n.dial()
	// One byte over the limit, in a chunk that says it has more.
	fmt.Fprintf(c, "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", n.token(api.RoleOperator), 1<<30)
	io.WriteString(c, strings.Repeat(" ", exchange.MaxBody+1))
	if res := answerOf(t, c); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Error(res.Status)
	}
}

func TestHalfSentRequest(t *testing.T) {
	n := newLeader(t)
	n.server.http.Patience.Body = 50 * time.Millisecond
	token := n.token(api.RoleOperator)
	before := n.store.View().Index()
	for _, path := range []string{"POST /v1/jobs", "PUT /v1/blobs/" + helloDigest} {
		c := n.dial()
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{\"kind\":", path, token)
		if res := answerOf(t, c); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	if n.store.View().Index() != before || n.HasBlob(helloDigest) {
		t.Error("half a request changed something")
	}
	// A connection lives through a request whose body was slow but whole.
	n.server.http.Patience.Body = 10 * time.Second
	n.send(request{method: "POST", path: "/v1/jobs", body: webJob, token: token}).want(t, 201)
}

func TestRefusalDoesNotWaitForTheBody(t *testing.T) {
	n := newLeader(t)
	for path, status := range map[string]int{"POST /v1/jobs": 401, "POST /v2/jobs": 404, "PATCH /v1/jobs": 405} {
		for _, size := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
			c := n.dial()
			fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", path, size)
			if res := answerOf(t, c); res.StatusCode != status {
				t.Errorf("%s: %s", path, res.Status)
			}
		}
	}
}

func TestDeadlinesDoNotOutliveTheirRequest(t *testing.T) {
	n := newLeader(t)
	n.server.http.Patience.Body = 30 * time.Millisecond
	token := n.token(api.RoleOperator)
	c := n.dial()
	in := bufio.NewReader(c)
	for range 3 {
		fmt.Fprintf(c, "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", token, len(webJob), webJob)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		if res.StatusCode != 201 {
			t.Fatal(res.Status)
		}
		idle := time.NewTimer(60 * time.Millisecond)
		<-idle.C
	}
}

func TestGuessingIsBounded(t *testing.T) {
	n := newLeader(t)
	good := n.token(api.RoleViewer)
	shown, _ := api.ParseClientToken(good)
	id := shown.ID
	bad := request{method: "GET", path: "/v1/jobs", token: api.ClientToken{ID: id, Secret: "wrong"}.String()}
	for range 20 {
		n.send(bad).want(t, 401)
	}
	n.send(bad).want(t, 429)
	// The token guessed at must wait, the others behind the address need not.
	n.send(request{method: "GET", path: "/v1/jobs", token: good}).want(t, 429)
	n.send(request{method: "GET", path: "/v1/jobs", token: n.token(api.RoleViewer)}).want(t, 200)
}

func TestBodyWhereNoneIsExpected(t *testing.T) {
	n := newLeader(t)
	token := n.token(api.RoleAdmin)
	n.send(request{method: "GET", path: "/v1/jobs", body: `{"x":1}`, token: token}).want(t, 400)
	n.send(request{method: "DELETE", path: "/v1/jobs/x", body: `{"force":1}`, token: token}).want(t, 400)
	n.send(request{method: "DELETE", path: "/v1/jobs/x", body: `{}`, token: token}).want(t, 404)
}
