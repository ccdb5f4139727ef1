package cluster

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
)

// A certificate names the hosts under which clients other than ours look for its
// node: curl, Prometheus, browsers. Ours go by the node's id. Who holds the
// authority names what it likes for itself; of any other node it names what
// leads nowhere but to the machine that asks, and the address at which it has
// just met that node's key.

const (
	// hostsCheck is how often a node looks at the names of its machine again.
	hostsCheck = time.Minute
	// metTimeout bounds the look at a node's address. Whoever relays a request
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
	hosts, err := a.peers.hostsOf(ctx, id)
	if err != nil {
		a.log.Info("a certificate does not name the address that its node tells: the node was not met there", "node", a.nameOf(id), "err", err)
	}
	return hosts
}

// hostsOf are those of a node; the error is why its address is not among them.
func (p *peers) hostsOf(ctx context.Context, id string) ([]string, error) {
	hosts := slices.Clone(everyHost)
	addr, known := p.addrOf(id)
	ip := addressOf(addr)
	if !known || ip == "" || slices.Contains(hosts, ip) {
		return hosts, nil
	}
	ctx, cancel := context.WithTimeout(ctx, metTimeout)
	defer cancel()
	if err := p.meet(ctx, addr, id); err != nil {
		return hosts, fmt.Errorf("look for it at %s: %w", addr, err)
	}
	return append(hosts, ip), nil
}

// meet looks whether the node with an id is at an address: it proves its key.
func (p *peers) meet(ctx context.Context, addr, id string) error {
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

// keepNamed gets this node another certificate while the one that it has lacks a
// host of its own: it is new, has another address, or the machine another name.
func (a *Agent) keepNamed(ctx context.Context) error {
	retry := backoff.New(time.Second, 10*time.Minute)
	if a.authority() == nil && a.awaitReady(ctx) != nil { // before, nobody knows where it is
		return nil
	}
	for {
		renewed, wait := a.renewed.wait(), hostsCheck
		if missing := a.unnamed(); len(missing) == 0 {
			retry.Reset()
		} else {
			wait = retry.Next()
			a.log.Info("the node's certificate does not name all of its hosts: it asks for another", "missing", missing, "retry", wait)
			a.certs.Outdated()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-renewed:
			if len(a.unnamed()) == 0 {
				continue
			}
		case <-time.After(wait):
			continue
		}
		// What it got lacks them, too: not at once again.
		if !backoff.Pause(ctx, wait) {
			return nil
		}
	}
}

// awaitNamed waits a moment for the certificate to name this node, so that who is
// told where it is can verify it.
func (a *Agent) awaitNamed(ctx context.Context) {
	limit := time.After(namedWait)
	for renewed := a.renewed.wait(); len(a.unnamed()) > 0; renewed = a.renewed.wait() {
		select {
		case <-ctx.Done():
			return
		case <-limit:
			return
		case <-renewed:
		}
	}
}
