package cluster

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/mesita/mesita/cluster/tlsconf"
)

// A certificate names each way to its node by which clients are told to come, and
// nothing that no authority would sign.
func TestHostsOfANode(t *testing.T) {
	for _, c := range []struct {
		advertised, listen, machine string
		want                        []string
	}{
		{"10.0.0.11:5050", "0.0.0.0:5050", "oak", []string{"10.0.0.11", "oak"}},
		{"10.0.0.11:5050", "[::]:5050", "Oak.example.com.", []string{"10.0.0.11", "oak.example.com", "oak"}},
		{"203.0.113.5:7000", "10.0.0.11:5050", "oak", []string{"203.0.113.5", "10.0.0.11", "oak"}},
		{"[fd00::5]:5050", "[fd00:0:0::5]:5050", "oak", []string{"fd00::5", "oak"}},
		{"127.0.0.1:40001", "127.0.0.1:40001", "localhost", nil},
		{"10.0.0.11:5050", "10.0.0.11:5050", "my_machine", []string{"10.0.0.11"}},
		{"10.0.0.11:5050", "10.0.0.11:5050", "", []string{"10.0.0.11"}},
		{"10.0.0.11:5050", "10.0.0.11:5050", "x.node.mesita", []string{"10.0.0.11", "x"}},
	} {
		want := append([]string{"localhost", "127.0.0.1", "::1"}, c.want...)
		got := hostsOf(c.advertised, c.listen, c.machine)
		if !slices.Equal(got, want) {
			t.Errorf("%s, %s, %q: %q, want %q", c.advertised, c.listen, c.machine, got, want)
		}
		key, err := tlsconf.NewNodeKey()
		if err != nil {
			t.Fatal(err)
		}
		csr, err := key.CSR()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newTestCA(t, "pine").Sign(csr, tlsconf.NodeIdentity{ID: key.ID(), Name: "oak", ClusterID: "c1", Hosts: got}, time.Now(), time.Hour); err != nil {
			t.Errorf("%q: %v", got, err)
		}
	}
}

// Who signs names an address only where it meets the node's own key: a node that
// tells another's address, or one where something else is, gets no certificate
// that passes for it.
func TestANodeIsNamedWhereItWasMet(t *testing.T) {
	ca := newTestCA(t, "pine")
	signer, oak, evil := heldNode(t, ca, "ash"), heldNode(t, ca, "oak"), heldNode(t, ca, "evil")
	oakAt := serveNode(t, oak, "127.0.0.2:0", nil)
	strangeAt := serveNode(t, heldNode(t, newTestCA(t, "fig"), "oak"), "127.0.0.3:0", nil)
	shut, err := net.Listen("tcp", "127.0.0.4:0")
	if err != nil {
		t.Fatal(err)
	}
	shutAt := shut.Addr().String()
	if err := shut.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, id, tells string
		address         string // that is named
	}{
		{"where it is", oak.ID(), oakAt, "127.0.0.2"},
		{"where another node is", evil.ID(), oakAt, ""},
		{"where a node of another cluster is", evil.ID(), strangeAt, ""},
		{"where nobody is", evil.ID(), shutAt, ""},
		{"no address", evil.ID(), "", ""},
		{"a name", evil.ID(), "intranet.example.com:443", ""},
		{"every address", evil.ID(), "0.0.0.0:5050", ""},
	} {
		p := newPeers(signer, func(string) (string, bool) { return c.tells, c.tells != "" }, nil, func() {})
		got, err := p.hostsOf(t.Context(), c.id)
		want := slices.Clone(everyHost)
		if c.address != "" {
			want = append(want, c.address)
		}
		if !slices.Equal(got, want) {
			t.Errorf("a node that tells %s is named %q, want %q (%v)", c.name, got, want, err)
		}
	}
}
