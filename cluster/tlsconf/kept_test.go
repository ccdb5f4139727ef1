package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
)

// pair is a connection over the one port, as both of its nodes hold it.
func pair(t *testing.T, m *Mux, caller *Holder, proto string) (server net.Conn, client *KeptConn) {
	t.Helper()
	c, err := tls.Dial("tcp", m.conf.Listener.Addr().String(), caller.ClientConfig(proto, ""))
	check(t, err)
	client = caller.Dialed(c)
	server, err = m.Listener(proto).Accept()
	check(t, err)
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

// over tells, once something was written to it, whether a connection is over.
func over(from, to net.Conn) bool {
	if _, err := from.Write([]byte("x")); err != nil {
		return true
	}
	_, err := to.Read(make([]byte, 1))
	return err != nil
}

// A connection between nodes ends at whichever end drops the key that the other's
// certificate is of, or finds it to be removed; those of others continue.
func TestConnectionsEndWithTheirKey(t *testing.T) {
	was, is := newCA(t, "pine"), newCA(t, "pine")
	both := slices.Concat(is.CertPEM(), was.CertPEM())
	for _, proto := range []string{ProtoRaft, ProtoGossip} {
		t.Run(proto, func(t *testing.T) {
			server := newHolder(t, is, "oak")
			check(t, server.SetRoots(both))
			var removed atomic.Value
			server.SetGone(func(id string) bool { return id == removed.Load() })
			m := runMux(t, server, func(c *MuxConfig) { c.Keep = server.Keep })
			m.Listener(proto)
			old, renewed, gone := newHolder(t, was, "thief"), newHolder(t, is, "fir"), newHolder(t, is, "elm")
			for _, h := range []*Holder{old, renewed, gone} {
				check(t, h.SetRoots(both))
			}
			oldS, oldC := pair(t, m, old, proto)
			newS, newC := pair(t, m, renewed, proto)
			goneS, goneC := pair(t, m, gone, proto)
			for _, p := range [][2]net.Conn{{oldS, oldC}, {newS, newC}, {goneS, goneC}} {
				if over(p[0], p[1]) || over(p[1], p[0]) {
					t.Fatal("it is over before anything is dropped")
				}
			}
			check(t, server.SetRoots(is.CertPEM()))
			if !over(oldS, oldC) || !over(oldC, oldS) {
				t.Error("a connection outlives the key of its peer")
			}
			removed.Store(gone.ID())
			server.EndStrange()
			if !over(goneS, goneC) || !over(goneC, goneS) {
				t.Error("a connection outlives the removal of its peer")
			}
			if over(newS, newC) || over(newC, newS) {
				t.Error("a connection of a key that stays is ended")
			}
			check(t, renewed.SetRoots(was.CertPEM())) // who dialed looks as well
			if !over(newS, newC) {
				t.Error("who dialed keeps a server whose key it dropped")
			}
			newS.Close()
			newC.Close()
			server.kept.mu.Lock()
			defer server.kept.mu.Unlock()
			for c := range server.kept.conns {
				if c.id == renewed.ID() {
					t.Error("a connection that was closed is not forgotten")
				}
			}
		})
	}
}

// A key that is dropped between the handshake and the note of the connection ends it
// as well.
func TestAKeyDroppedMeanwhile(t *testing.T) {
	was, is := newCA(t, "pine"), newCA(t, "pine")
	oak, fir := newHolder(t, is, "oak"), newHolder(t, was, "fir")
	ends := 0
	cs := tls.ConnectionState{PeerCertificates: []*x509.Certificate{fir.Leaf()}, NegotiatedProtocol: ProtoRaft}
	forget := oak.Keep(cs, func() { ends++ })
	forget()
	if ends != 1 || len(oak.kept.conns) != 0 {
		t.Errorf("ended %d times, %d kept", ends, len(oak.kept.conns))
	}
}

// An answer that flows ends with the key, too, after a while in which what was asked
// before is answered.
func TestFlowingAnswersEndWithTheirKey(t *testing.T) {
	was, is := newCA(t, "pine"), newCA(t, "pine")
	both := slices.Concat(is.CertPEM(), was.CertPEM())
	oak, old := newHolder(t, is, "oak"), newHolder(t, was, "thief")
	check(t, oak.SetRoots(both))
	check(t, old.SetRoots(both))
	m := runMux(t, oak, func(c *MuxConfig) { c.Keep = oak.Keep })
	srv := &http.Server{ConnContext: oak.ConnContext, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "begun")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})}
	go srv.Serve(m.HTTP())
	t.Cleanup(func() { srv.Close() })
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: old.ClientConfig("http/1.1", "")}}
	res, err := client.Get("https://" + m.conf.Listener.Addr().String())
	check(t, err)
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	check(t, oak.SetRoots(is.CertPEM()))
	if _, err := io.ReadAll(res.Body); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the answer ended as if it were whole: %v", err)
	}
}

// A node that asks for its own removal hears the answer, which comes after it was
// removed.
func TestARemovedNodeHearsItsAnswer(t *testing.T) {
	ca := newCA(t, "pine")
	oak, elm := newHolder(t, ca, "oak"), newHolder(t, ca, "elm")
	var removed atomic.Value
	oak.SetGone(func(id string) bool { return id == removed.Load() })
	m := runMux(t, oak, func(c *MuxConfig) { c.Keep = oak.Keep })
	srv := &http.Server{ConnContext: oak.ConnContext, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		removed.Store(elm.ID())
		oak.EndStrange()
		fmt.Fprint(w, "removed")
	})}
	go srv.Serve(m.HTTP())
	t.Cleanup(func() { srv.Close() })
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: elm.ClientConfig("http/1.1", "")}}
	res, err := client.Get("https://" + m.conf.Listener.Addr().String())
	check(t, err)
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "removed" {
		t.Errorf("heard %q, %v", b, err)
	}
}
