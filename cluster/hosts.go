package cluster

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
)

// A certificate names the hosts under which clients other than ours look for its
// node: curl, Prometheus, browsers. Ours go by the node's id. Who holds the
// authority names what it likes for itself; of any other node it names what
// leads nowhere but to the machine that asks, and the address at which it has
// just met that node's key, if no other node tells that it is there: a certificate
// is good for all ports of an address, and whoever may run a program on another
// node's machine shows its own key there.

const (
	// hostsCheck is how often a node looks at the names of its machine again.
	hostsCheck = time.Minute
	// metTimeout bounds the look at one of two addresses. Whoever relays a request
	// for a certificate waits 2.5 s.
	metTimeout = time.Second
	// namedWait bounds how long a node that is ready waits for a certificate
	// that names it.
	namedWait = 5 * time.Second
)

// everyHost is what each certificate names: the machine of whoever asks.
var everyHost = []string{"localhost", "127.0.0.1", "::1"}

// ownHosts are those of this node's machine: where others reach it, where it
// listens, and what it is called.
func (a *Agent) ownHosts() []string {
	machine, _ := os.Hostname() // without one it has no name
	return hostsOf(a.addr, a.cfg.Listen, machine)
}

// hostsOf leaves out what no certificate may name: an authority would sign none.
func hostsOf(advertised, listen, machine string) []string {
	machine = strings.TrimSuffix(strings.ToLower(machine), ".")
	label, _, _ := strings.Cut(machine, ".")
	hosts := append(slices.Clone(everyHost), addressOf(advertised), addressOf(listen), machine, label)
	var out []string
	for _, h := range hosts {
		if tlsconf.CheckHost(h) == nil && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

// addressOf is the IP of an IP:PORT, "" if that is none of one machine.
func addressOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	if err != nil || ip == nil || ip.IsUnspecified() {
		return ""
	}
	return ip.String()
}

// hostsFor are those of another node.
func (a *Agent) hostsFor(ctx context.Context, id string) []string {
	own, others := whereabouts(a.store.View(), a.members(), id)
	if id != a.self.NodeID {
		others = append(others, a.ownHosts()...)
	}
	hosts, err := a.peers.hostsOf(ctx, id, own, others)
	if err != nil {
		a.log.Info("a certificate does not name the address that its node tells", "node", a.nameOf(id), "err", err)
	}
	return hosts
}

// whereabouts are the addresses that a node tells, IP:PORT, the newest first, and
// the IPs of all others, whether they answer or not.
func whereabouts(v *fsm.View, known []gossip.Member, id string) (own, others []string) {
	note := func(node, addr string) {
		if node != id {
			others = append(others, addressOf(addr))
		} else if !slices.Contains(own, addr) {
			own = append(own, addr)
		}
	}
	for n := range v.Nodes() { // a hello says where it is before gossip may
		if n.State != api.NodeGone {
			note(n.ID, n.Addr)
		}
	}
	for _, m := range known {
		if n := v.Node(m.ID); n == nil || n.State != api.NodeGone {
			note(m.ID, m.Addr)
		}
	}
	return own, others
}

// hostsOf are those of a node that tells that it is at own; the error is why no
// address is among them.
func (p *peers) hostsOf(ctx context.Context, id string, own, others []string) ([]string, error) {
	hosts := slices.Clone(everyHost)
	var errs []error
	for _, addr := range own {
		ip := addressOf(addr)
		switch {
		case ip == "":
			continue
		case slices.Contains(hosts, ip):
			return hosts, nil
		case slices.Contains(others, ip):
			errs = append(errs, fmt.Errorf("another node is at %s, or says so", ip))
			continue
		}
		err := p.meet(ctx, addr, id)
		if err == nil {
			return append(hosts, ip), nil
		}
		errs = append(errs, fmt.Errorf("look for it at %s: %w", addr, err))
	}
	return hosts, errors.Join(errs...)
}

// meet looks whether the node with an id is at an address: it proves its key.
func (p *peers) meet(ctx context.Context, addr, id string) error {
	ctx, cancel := context.WithTimeout(ctx, metTimeout)
	defer cancel()
	c, err := dialTLS(ctx, addr, p.certs.ClientConfig("http/1.1", id))
	if err != nil {
		return err
	}
	return c.Close()
}

// unnamed are the hosts that this node's certificate should name and does not.
func (a *Agent) unnamed() []string {
	want := a.ownHosts()
	if a.authority() == nil {
		if !a.signersName() {
			return nil
		}
		want = append(slices.Clone(everyHost), addressOf(a.addr))
	}
	return notIn(a.certs.Leaf(), want)
}

func notIn(leaf *x509.Certificate, hosts []string) []string {
	return slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return h == "" || leaf.VerifyHostname(h) == nil })
}

// signersName reports whether all that may sign this node's certificate name hosts.
func (a *Agent) signersName() bool {
	return max(a.store.View().Level(), fsm.Level(a.selfLevel())).Has(fsm.CertAddresses)
}

// keepNamed has this node's certificate name all of its hosts.
func (a *Agent) keepNamed(ctx context.Context) error {
	if a.authority() == nil && a.awaitReady(ctx) != nil { // before, nobody knows where it is
		return nil
	}
	a.namer().keep(ctx)
	return nil
}

func (a *Agent) namer() *namer {
	signer := func() string {
		if a.authority() != nil {
			return a.self.NodeID
		}
		return a.leaderID()
	}
	return &namer{unnamed: a.unnamed, signer: signer, renewed: a.renewed.wait, ask: a.certs.Outdated, log: a.log}
}

// namer gets a node another certificate when the one that it has lacks a host of
// its own: it is new, has another address, or the machine another name. One that
// lacks it still, such as when the signer does not reach the node or another one
// is at its address, would come again: it asks for no other until what it lacks or
// who signs is another.
type namer struct {
	unnamed func() []string        // what the certificate lacks
	signer  func() string          // "" while none is known
	renewed func() <-chan struct{} // closed at the next certificate, whatever it names
	ask     func()                 // for a certificate, until there is one
	log     *slog.Logger
}

func (n *namer) keep(ctx context.Context) {
	var asked struct{ lacks, signer string }
	for {
		renewed := n.renewed()
		now := asked
		now.lacks, now.signer = strings.Join(n.unnamed(), " "), cmp.Or(n.signer(), asked.signer)
		if now != asked && now.lacks != "" {
			n.log.Info("the node's certificate does not name all of its hosts: it asks for another", "missing", now.lacks)
			n.ask()
		}
		asked = now
		select {
		case <-ctx.Done():
			return
		case <-renewed:
		case <-time.After(hostsCheck):
		}
	}
}

// await waits a moment for the certificate to name the node, so that who is told
// where it is can verify it. When the next one does not either, none soon will.
func (n *namer) await(ctx context.Context) {
	renewed := n.renewed()
	if len(n.unnamed()) == 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(namedWait):
	case <-renewed:
	}
}
