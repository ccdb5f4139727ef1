package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/mesita/mesita/integration/lab"
)

// get asks a URL from a node's network as any program does that is given the
// cluster's CA and nothing else of mesita's, and tells which certificate it was shown.
func get(n *lab.Node, ca []byte, url string) (*x509.Certificate, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true,
		DialContext: func(_ context.Context, _, addr string) (net.Conn, error) { return n.DialAddr(addr) }}
	res, err := (&http.Client{Transport: t}).Get(url)
	if err != nil {
		return nil, err
	}
	return res.TLS.PeerCertificates[0], res.Body.Close()
}

// Each address that a node prints as it is ready can be verified by whoever has the
// CA, of a voter and of a worker, also after it has another one.
func TestPrintedAddressesAreVerified(t *testing.T) {
	l := newLab(t, 4)
	l.Form()
	ca, err := os.ReadFile(filepath.Join(l.Nodes[0].Dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	verified := func(when string) {
		t.Helper()
		for _, n := range l.Nodes {
			for _, url := range []string{n.API() + "/v1/ca", n.API() + "/metrics"} {
				if _, err := get(l.Nodes[0], ca, url); err != nil {
					t.Errorf("%s, %s: %v", when, n.Name, err)
				}
			}
		}
	}
	verified("at first")
	voters := map[string]bool{}
	for _, m := range l.Leader().Members() {
		voters[m.Name] = m.Role != "worker"
	}
	var voter, worker *lab.Node
	for _, n := range l.Nodes[1:] {
		if voters[n.Name] {
			voter = n
		} else {
			worker = n
		}
	}
	if voter == nil || worker == nil {
		t.Fatalf("want voters and a worker: %v", voters)
	}
	for n, ip := range map[*lab.Node]string{voter: "10.77.0.91", worker: "10.77.0.92"} {
		was := n.IP
		n.Terminate()
		n.Move(ip)
		n.Start()
		leaf, err := get(l.Nodes[0], ca, n.API()+"/v1/ca")
		if err != nil || leaf.VerifyHostname(was) == nil {
			t.Errorf("%s moved from %s to %s, and its certificate names %v (%v)", n.Name, was, ip, leaf, err)
		}
	}
	verified("with other addresses")
}
