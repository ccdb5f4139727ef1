package server

import (
	"bufio"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
)

// Who is refused hears why, though its body comes after its headers, as that of
// many clients does; one that never comes is not waited for.
func TestARefusedBodyIsHeardOut(t *testing.T) {
	for name, c := range map[string]struct {
		path, length, body string
		status             int
		late, within       time.Duration
	}{
		"no such route":        {"/v1/nothing", "9", `{"a":"b"}`, 404, lateness, time.Second},
		"no name":              {"/v1/jobs/%0a/scale", "9", `{"a":"b"}`, 400, lateness, time.Second},
		"no credentials":       {"/v1/jobs", "9", `{"a":"b"}`, 401, lateness, time.Second},
		"a body that is late":  {"/v1/jobs", "9", "", 401, 0, time.Second},
		"a body that is large": {"/v1/jobs", "1000000", "", 401, 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				n := quietNode(t, w, "oak", newStore(t))
				w.lead("oak")
				l := newPipeListener()
				srv := NewHTTPServer(n.server.Handler(auth.Bearer), slog.New(slog.DiscardHandler))
				done := make(chan error)
				go func() { done <- srv.Serve(l) }()
				conn := l.dial()
				conn.SetDeadline(time.Now().Add(time.Minute))
				if _, err := io.WriteString(conn, "POST "+c.path+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "+c.length+"\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				in := bufio.NewReader(conn)
				res, err := http.ReadResponse(in, nil)
				if err != nil || res.StatusCode != c.status || time.Since(begin) > 0 {
					t.Fatalf("%+v, %v after %v; want %d at once", res, err, time.Since(begin), c.status)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil {
					t.Error(err)
				}
				time.Sleep(c.late)
				if c.body != "" {
					if _, err := io.WriteString(conn, c.body); err != nil {
						t.Errorf("its body is not taken, so who sends it hears of nothing else: %v", err)
					}
				}
				if _, err := in.ReadByte(); err != io.EOF || time.Since(begin) > c.within {
					t.Errorf("the connection is open after %v: %v", time.Since(begin), err)
				}
				conn.Close()
				srv.Close()
				<-done
			})
		})
	}
}

const lateness = 100 * time.Millisecond

// An upload that fails before all of it came is answered at once, though the rest may
// never come.
func TestAFailedUploadIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		n := quietNode(t, w, "oak", newStore(t))
		w.lead("oak")
		n.keepsNone = api.Errorf(api.CodeUnavailable, "no room")
		l := newPipeListener()
		srv := NewHTTPServer(n.server.Handler(auth.Bearer), slog.New(slog.DiscardHandler))
		done := make(chan error)
		go func() { done <- srv.Serve(l) }()
		conn := l.dial()
		conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := io.WriteString(conn, "PUT /v1/blobs/"+helloDigest+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+n.token(api.RoleAdmin)+"\r\nContent-Length: 5\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != http.StatusServiceUnavailable || time.Since(begin) > 0 {
			t.Errorf("%+v, %v after %v; want %d at once", res, err, time.Since(begin), http.StatusServiceUnavailable)
		}
		conn.Close()
		srv.Close()
		<-done
	})
}
