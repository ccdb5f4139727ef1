package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/integration/lab"
)

// caller is somebody who calls nodes, with what certificate it has.
type caller struct {
	t    lab.T
	conf func(alpn string) *tls.Config
	from *lab.Node // nil: the network of the node that is called
}

// stranger is a caller that shows this certificate, or none.
func stranger(t lab.T, certs ...tls.Certificate) *caller {
	return &caller{t: t, conf: func(alpn string) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}, Certificates: certs}
	}}
}

// steal is a caller with the key and the certificate of a node.
func steal(t lab.T, n *lab.Node) *caller {
	t.Helper()
	files := tlsconf.Files{Dir: n.Dir}
	key, err := files.LoadKey()
	if err != nil {
		t.Fatalf("%v", err)
	}
	cert, err := files.LoadCert()
	if err != nil {
		t.Fatalf("%v", err)
	}
	ca, err := files.LoadCA()
	if err != nil {
		t.Fatalf("%v", err)
	}
	h, err := tlsconf.NewHolder(key, cert, ca, nil)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return &caller{t: t, conf: func(alpn string) *tls.Config { return h.ClientConfig(alpn, "") }}
}

func (x *caller) dial(n *lab.Node, alpn string) *tls.Conn {
	x.t.Helper()
	from := n
	if x.from != nil {
		from = x.from
	}
	c, err := from.DialTo(n)
	if err != nil {
		x.t.Fatalf("%v", err)
	}
	return tls.Client(c, x.conf(alpn))
}

// streams reports whether a node gives the caller a stream of that protocol: who is
// refused hears it at the first read, others hear nothing.
func (x *caller) streams(n *lab.Node, alpn string) bool {
	x.t.Helper()
	c := x.dial(n, alpn)
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		x.t.Fatalf("%v", err)
	}
	_, err := c.Read(make([]byte, 1))
	var late net.Error
	return err == nil || errors.As(err, &late) && late.Timeout()
}

// call is the status of a request with such headers, 0 if it was cut off.
func (x *caller) call(n *lab.Node, method, path, body string, header map[string]string) int {
	x.t.Helper()
	status, _ := x.ask(n, method, path, body, header)
	return status
}

// ask is call with what was answered, as far as it was before the connection's
// end or for a MiB.
func (x *caller) ask(n *lab.Node, method, path, body string, header map[string]string) (int, string) {
	x.t.Helper()
	c := x.dial(n, "http/1.1")
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		x.t.Fatalf("%v", err)
	}
	return ask(x.t, c, method, path, body, header)
}

func ask(t lab.T, c net.Conn, method, path, body string, header map[string]string) (int, string) {
	t.Helper()
	q, err := http.NewRequest(method, "https://mesita"+path, strings.NewReader(body))
	if err != nil {
		t.Fatalf("%v", err)
	}
	for k, v := range header {
		q.Header.Set(k, v)
	}
	if host := header["Host"]; host != "" {
		q.Host = host
	}
	if q.Write(c) != nil {
		return 0, ""
	}
	res, err := http.ReadResponse(bufio.NewReader(c), q)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20)) // what came of it is told
	return res.StatusCode, string(b)
}

func bearer(secret string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + secret}
}

func says(actor, role string, more ...string) map[string]string {
	h := map[string]string{auth.HeaderForwarded: "1", auth.HeaderActor: actor, auth.HeaderRole: role}
	for i := 0; i < len(more); i += 2 {
		h[more[i]] = more[i+1]
	}
	return h
}

var anAdmin = `{"kind":"client","name":"evil","role":"admin"}`
