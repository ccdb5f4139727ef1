package cluster

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
	"golang.org/x/sync/errgroup"
)

// renewalTimeout bounds one node's answer to a request for a certificate.
const renewalTimeout = 5 * time.Second

// authority is the cluster's CA; nil on a worker. A voter that has not read
// the state yet finds it in its log: with all certificates expired there is no
// quorum that could tell what the state is.
func (a *Agent) authority() *api.Authority {
	if auth := a.store.View().Authority(); auth != nil {
		return auth
	}
	return a.logged
}

// findAuthority looks for the CA in the log. It is taken only if it is that of
// this node's own certificate, and whatever the log says later it stays so.
func (a *Agent) findAuthority() {
	if a.store.View().Authority() != nil {
		return
	}
	a.raft.FirstCommands(func(c fsm.Command) bool {
		made, ok := c.(*fsm.ClusterInit)
		if !ok || made.Cluster == nil || made.Authority == nil || made.Cluster.ID != a.self.ClusterID {
			return true
		}
		own, err := a.files.LoadCA()
		if err == nil && bytes.Equal(bytes.TrimSpace(own), bytes.TrimSpace(made.Authority.CACert)) {
			a.logged = made.Authority
		}
		return false
	})
}

// mendCertificate gives a voter whose certificate expired while it was off a
// new one, before it meets the others, and says what is done.
func (a *Agent) mendCertificate(key *tlsconf.NodeKey) error {
	since := a.certs.Expired()
	if since.IsZero() {
		if leaf := a.certs.Leaf(); a.cfg.Wall().Before(leaf.NotBefore) {
			a.log.Warn("the clock of this machine is behind: the node's certificate was made later than it is now; the certificates of others are taken whatever their first day",
				"clock", a.cfg.Wall(), "certificate", leaf.NotBefore)
		}
		return nil
	}
	a.findAuthority()
	if a.authority() == nil {
		a.log.Warn("this node's certificate expired while it was off: it asks the other nodes for a new one, and proves its key", "expired", since)
		return nil
	}
	csr, err := key.CSR()
	if err != nil {
		return err
	}
	cert, err := a.signOwn(csr)
	if err == nil {
		err = a.certs.Swap(cert)
	}
	if err != nil {
		return fmt.Errorf("renew the certificate that expired at %s: %w", since.Format(time.RFC3339), err)
	}
	if err := a.files.SaveCert(cert); err != nil {
		a.log.Error("the new node certificate is in use but not saved", "err", err)
	}
	a.log.Warn("this node's certificate expired while it was off: as a voter it holds the cluster's CA, and has signed a new one", "expired", since, "until", a.certs.Leaf().NotAfter)
	return nil
}

// rotator renews this node's certificate.
func (a *Agent) rotator() *tlsconf.Rotator {
	save := func(cert []byte) error {
		a.renewed.notify()
		err := a.files.SaveCert(cert)
		if a.votes() { // since it asked, as when it has just joined: what others sign does not say so
			a.sayVoter()
		}
		return err
	}
	return &tlsconf.Rotator{Holder: a.certs, Renew: a.renew, Save: save, Log: a.log}
}

// renew has a certificate request of this node signed: a voter does it itself,
// also when nobody answers. Who is refused by others asks them, as the reason
// may be its clock, or that it was removed.
func (a *Agent) renew(ctx context.Context, csr []byte, refused bool) ([]byte, error) {
	auth := a.authority()
	if !refused && auth != nil && a.certs.Signs(auth.CACert) {
		return a.signOwn(csr)
	}
	if !refused && a.certs.Expired().IsZero() && a.certs.SignedBy(a.certs.RootsPEM()) {
		var out server.RenewGrant
		err := a.callLeader(ctx, http.MethodPost, "/v1/internal/renew", server.RenewRequest{CSR: csr}, &out)
		return out.Certificate, err
	}
	got, err := a.askRenewal(ctx, csr, refused)
	if err != nil {
		return nil, err
	}
	if got.Removal == nil {
		return got.Certificate, nil
	}
	if err := a.takeRemoval(got.Removal); err != nil {
		return nil, err
	}
	return nil, tlsconf.ErrRemoved
}

// askRenewal asks the nodes that this one knows of, and prefers to hear of a
// removal; with all of them asked, one that is behind does not hide it. It is of
// this node's age, so the log that all of them share says so.
func (a *Agent) askRenewal(ctx context.Context, csr []byte, all bool) (*api.Renewal, error) {
	addrs := a.knownAddrs()
	if len(addrs) == 0 {
		return nil, api.Errorf(api.CodeUnavailable, "no other node is known: start this one with the address of another")
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	ctx, cancel := context.WithTimeout(ctx, 3*renewalTimeout)
	defer cancel()
	answers := make([]*api.Renewal, len(addrs))
	errs := make([]error, len(addrs))
	var group errgroup.Group
	group.SetLimit(4)
	for i, addr := range addrs {
		group.Go(func() error {
			answers[i], errs[i] = a.askRenewalAt(ctx, addr, csr)
			if errs[i] == nil && !all {
				cancel() // one answer is enough
			}
			return nil
		})
	}
	_ = group.Wait() // errs has what went wrong
	var best *api.Renewal
	for _, got := range answers {
		if got != nil && (best == nil || got.Removal != nil) {
			best = got
		}
	}
	if best == nil {
		return nil, errors.Join(errs...)
	}
	return best, nil
}

func (a *Agent) askRenewalAt(ctx context.Context, addr string, csr []byte) (*api.Renewal, error) {
	ctx, cancel := context.WithTimeout(ctx, renewalTimeout)
	defer cancel()
	body, err := json.Marshal(server.RenewalRequest{CSR: csr})
	if err != nil {
		return nil, err
	}
	t := &http.Transport{TLSClientConfig: a.certs.RenewalConfig(), DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+"/v1/renew", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	a.ages.sign(req)
	res, err := t.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s for a certificate: %w", addr, err)
	}
	defer res.Body.Close()
	got := new(api.Renewal)
	if err := api.ReadAnswer(res, got); err != nil {
		return nil, fmt.Errorf("ask %s for a certificate: %w", addr, err)
	}
	if got.Removal != nil {
		if err := a.sameAgeRemoval(addr, res.Header.Get(headerAge), got.Removal); err != nil {
			return nil, err
		}
	}
	return got, nil
}

// sameAgeRemoval refuses the removal of another age, such as of a voter that was
// recovered alone by mistake. A certificate is as good from any: who is behind
// may need one to follow.
func (a *Agent) sameAgeRemoval(addr, header string, r *api.Removal) error {
	if err := a.ages.compare(addr, header); err != nil {
		return fmt.Errorf("the node at %s says that this one was removed: %w", addr, err)
	}
	if r.Age != a.line.ID() {
		return fmt.Errorf("the node at %s says that this one was removed in another age of the cluster", addr)
	}
	return nil
}

// maxAsked is how many nodes are asked at a time.
const maxAsked = 16

// knownAddrs is where other nodes are or were.
func (a *Agent) knownAddrs() []string {
	if a.cfg.Rejoin && len(a.cfg.Seeds) > 0 {
		return withPorts(a.cfg.Seeds) // who names one means that one
	}
	addrs := withPorts(a.cfg.Seeds)
	for _, m := range a.members() {
		if m.ID != a.self.NodeID && m.State != gossip.Left {
			addrs = append(addrs, m.Addr)
		}
	}
	addrs = append(addrs, a.seeds...)
	var out []string
	for _, addr := range addrs {
		if addr != a.addr && !slices.Contains(out, addr) && len(out) < maxAsked {
			out = append(out, addr)
		}
	}
	return out
}

// members are the nodes that gossip knows; none before it runs.
func (a *Agent) members() []gossip.Member {
	if g := a.gossip.Load(); g != nil {
		return g.Members()
	}
	return nil
}

// Renewal answers a node that proves its key, whatever became of its
// certificate: with the removal if it was removed, else with a new certificate.
func (m members) Renewal(ctx context.Context, csr []byte, relayed bool) (*api.Renewal, error) {
	parsed, err := x509.ParseCertificateRequest(csr)
	if err != nil || parsed.CheckSignature() != nil {
		return nil, api.FieldErrorf("csr", "is not a certificate request signed by its own key")
	}
	id := tlsconf.NodeID(parsed.PublicKey)
	n := m.store.View().Node(id)
	if n != nil && n.State == api.NodeGone && m.authority() != nil {
		return m.removalOf(n)
	}
	last := error(api.Errorf(api.CodeUnavailable, "no node leads the cluster now"))
	if leader := m.leaderID(); leader != "" && leader != m.self.NodeID && !relayed {
		out := new(api.Renewal)
		ctx, cancel := context.WithTimeout(ctx, renewalTimeout/2)
		defer cancel()
		if last = m.peers.call(ctx, leader, http.MethodPost, "/v1/renew", server.RenewalRequest{CSR: csr, Relayed: true}, out); last == nil {
			return out, nil
		}
	}
	switch {
	case n == nil && m.raft.IsLeader():
		return nil, api.Errorf(api.CodeNotAllowed, "node %s is not in the cluster: join with a token", id)
	case n == nil || m.authority() == nil:
		return nil, last
	}
	cert, err := m.signFor(ctx, id, n.Name, csr)
	return &api.Renewal{Certificate: cert}, err
}

// signFor signs another node's certificate with the cluster's CA.
func (a *Agent) signFor(ctx context.Context, id, name string, csr []byte) ([]byte, error) {
	if a.authority() == nil {
		return nil, errNoAuthority()
	}
	return a.sign(tlsconf.NodeIdentity{ID: id, Name: name, Hosts: a.hostsFor(ctx, id)}, csr)
}

// signOwn signs this node's own, which says that it votes as long as it does.
func (a *Agent) signOwn(csr []byte) ([]byte, error) {
	return a.sign(tlsconf.NodeIdentity{ID: a.self.NodeID, Name: a.self.Name, Voter: slices.Contains(a.raft.Voters(), a.self.NodeID), Hosts: a.ownHosts()}, csr)
}

// sayVoter gives a voter a certificate that says so: whoever has no copy of the
// state tells voters from other nodes by it.
func (a *Agent) sayVoter() {
	if a.certs.Votes() || a.store.View().Authority() == nil {
		return
	}
	csr, err := a.certs.CSR()
	if err != nil {
		a.log.Error("this voter's certificate does not say that it votes", "err", err)
		return
	}
	cert, err := a.signOwn(csr)
	if err == nil {
		err = a.certs.Swap(cert)
	}
	if err != nil {
		a.log.Error("this voter's certificate does not say that it votes", "err", err)
		return
	}
	a.peers.renewed()
	a.renewed.notify()
	if err := a.files.SaveCert(cert); err != nil {
		a.log.Error("the new node certificate is in use but not saved", "err", err)
	}
}

func errNoAuthority() error {
	return api.Errorf(api.CodeUnavailable, "this node does not hold the cluster's CA: ask the leader")
}

// sign signs a certificate. A clock that is behind this node's own certificate is
// wrong.
func (a *Agent) sign(id tlsconf.NodeIdentity, csr []byte) ([]byte, error) {
	auth := a.authority()
	if auth == nil {
		return nil, errNoAuthority()
	}
	ca, err := tlsconf.LoadCA(auth.CACert, auth.CAKey)
	if err != nil {
		return nil, fmt.Errorf("load the cluster's CA: %w", err)
	}
	now := later(a.cfg.Wall(), a.certs.Leaf().NotBefore)
	id.ClusterID = a.self.ClusterID
	cert, err := ca.Sign(csr, id, now, tlsconf.DefaultLife)
	if err != nil {
		return nil, api.FieldErrorf("csr", "%v", err)
	}
	return cert, nil
}
