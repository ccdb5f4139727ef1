package conform

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"strings"
)

// most is how large a body may be to be looked at: the answer ends only then, and who
// reads it would wait for that.
const most = 256 << 10

// Handler passes requests on, and reports answers that differ from the document.
func (c *Checker) Handler(next http.Handler, report func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, out := &kept{}, &writer{ResponseWriter: w}
		request := *r // as it came: handlers change it
		if r.Body != nil && strings.Contains(r.Header.Get("Content-Type")+"application/json", "json") {
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.TeeReader(r.Body, asked), r.Body}
		}
		next.ServeHTTP(out, r) // a panic is an answer that is cut: nothing is to be said of it
		a := &Answer{Request: &request, Asked: asked.whole(), Status: out.status, Header: w.Header(), Body: out.body.whole()}
		if a.Header.Get("Content-Encoding") == "gzip" {
			a.Body = unzipped(a.Body)
		}
		if a.Status != 0 {
			if err := c.Check(a); err != nil {
				report(err)
			}
		}
	})
}

func unzipped(b []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	out, err := io.ReadAll(io.LimitReader(z, most+1))
	if err != nil || len(out) > most {
		return nil
	}
	return out
}

// kept is a copy of what was written, unless it was too much.
type kept struct {
	bytes.Buffer
	over bool
}

func (k *kept) Write(p []byte) (int, error) {
	if k.over = k.over || k.Len()+len(p) > most; k.over {
		k.Reset()
		return len(p), nil
	}
	return k.Buffer.Write(p)
}

func (k *kept) whole() []byte {
	if k.over {
		return nil
	}
	return k.Bytes()
}

type writer struct {
	http.ResponseWriter
	status int
	body   kept
}

// Unwrap is what http.ResponseController goes by.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack notes that the connection becomes another protocol's.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.status = http.StatusSwitchingProtocols
	}
	return conn, rw, err
}

func (w *writer) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.body.Write(p)
	return w.ResponseWriter.Write(p)
}
