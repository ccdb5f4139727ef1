package cluster

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/mesita/mesita/cluster/datadir"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
)

const (
	// caRetry is how often a step is tried again that could not be done.
	caRetry = time.Second
	// learnPause is between two questions of a node that was off for a change.
	learnPause = 5 * time.Second
)

// caNews is what this node heard of the CA's keys.
type caNews struct {
	heard atomic.Pointer[api.CARoots]
	news  signal
}

// tell notes what a voter told.
func (c *caNews) tell(r *api.CARoots) {
	if r != nil && len(r.Cert) > 0 {
		c.heard.Store(r)
		c.news.notify()
	}
}

// followCA does this node's part in a change of the CA's key: what it hears from the
// state, or as a worker from its feed. Who was off for one asks when it
// meets a certificate that it cannot place.
func (a *Agent) followCA(ctx context.Context) error {
	w := a.store.Watch(fsm.TableCluster)
	defer w.Close()
	for {
		news, renewed := a.ca.news.wait(), a.renewed.wait()
		var retry <-chan time.Time
		if r := a.knownCA(); r != nil {
			was := a.caStep()
			if !a.takeCA(r) {
				retry = time.After(caRetry)
			}
			if a.caStep() != was {
				a.peers.renewed()
				a.tell()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.Ready():
			w.Take()
		case <-news:
		case <-renewed:
		case <-retry:
		case <-a.certs.Strange():
			// One that hears of the cluster needs it from nobody, who may have stolen the old key.
			if hears := a.fed.Load() || a.hasState() && a.leaderID() != ""; !hears && !a.learnCA(ctx) && !backoff.Pause(ctx, learnPause) {
				return nil
			}
		}
	}
}

// knownCA is the newest of the CA's keys that this node knows; nil = it never changed.
func (a *Agent) knownCA() *api.CARoots {
	r := a.ca.heard.Load()
	if auth := a.store.View().Authority(); auth != nil && auth.CAStep > 0 && (r == nil || auth.CAStep >= r.Step) {
		r = auth.CAs()
	}
	return r
}

// takeCA does a step of the change, and reports whether it is done. A node never goes
// back. A key is dropped only once the certificate in use is of another; so
// who was off for all of a change first trusts both.
func (a *Agent) takeCA(r *api.CARoots) bool {
	a.certs.SetPast(r.Past)
	if a.caStep() >= r.Step {
		return true
	}
	if !a.certs.SignedBy(r.Cert[0]) {
		both := r.PEM()
		if own := a.certs.SignerPEM(); !bytes.Contains(both, bytes.TrimSpace(own)) {
			both = append(both, own...)
		}
		err := a.keepCA(both)
		if err != nil {
			a.log.Warn("the next key of the CA is not kept; trying again", "err", err)
			return false
		}
		a.certs.Outdated()
		return false
	}
	// What is on the disk is of a key that is trusted there, wherever this ends.
	err := a.files.SaveCert(a.certs.CertPEM())
	if err == nil {
		err = a.keepCA(r.PEM())
	}
	if err == nil {
		err = a.changeSelf(func(n *datadir.Node) { n.CAStep = r.Step })
	}
	if err != nil {
		a.log.Warn("a step of the change of the CA's key is not kept, and so not told to be done; trying again", "err", err)
		return false
	}
	a.log.Info("the key of the CA is changed", "step", r.Step, "trusted", len(r.Cert))
	return true
}

func (a *Agent) caStep() uint64 {
	a.selfMu.Lock()
	defer a.selfMu.Unlock()
	return a.self.CAStep
}

// keepCA trusts some authorities from now on, and at the next start.
func (a *Agent) keepCA(roots []byte) error {
	if err := a.files.SaveCA(roots); err != nil {
		return err
	}
	return a.certs.SetRoots(roots)
}

// learnCA asks others how the CA came to the key that this node does not know. The
// keys prove themselves, and nothing else that anybody says: they are trusted
// beside the others, the node gets a certificate, and a voter tells the rest.
func (a *Agent) learnCA(ctx context.Context) bool {
	addrs := a.knownAddrs()
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	for _, addr := range addrs {
		var roots []byte
		r, err := tlsconf.AskCA(ctx, addr)
		if err == nil {
			roots, err = a.certs.Follow(r)
		}
		if err != nil {
			a.log.Debug("asking for the keys of the CA", "at", addr, "err", err)
			continue
		}
		if roots == nil {
			continue
		}
		if err := a.keepCA(roots); err != nil {
			a.log.Warn("the next key of the CA is not kept; trying again", "err", err)
			return false
		}
		a.log.Warn("the key of the cluster's CA was changed while this node was off: it follows, as the one that it knows has signed the next")
		a.certs.Refused() // so it is by who does not trust the old one any more
		return true
	}
	return false
}

// CAs is what leads from each key of the CA to the next, for anybody.
func (m members) CAs(ctx context.Context, relayed bool) (*api.CARoots, error) {
	if auth := m.store.View().Authority(); auth != nil && m.hasState() {
		return auth.CAs(), nil
	}
	leader := m.leaderID()
	if leader == "" || leader == m.self.NodeID || relayed {
		return nil, api.Errorf(api.CodeUnavailable, "this node does not know the cluster's state now: ask another")
	}
	out := new(api.CARoots)
	ctx, cancel := context.WithTimeout(ctx, renewalTimeout/2)
	defer cancel()
	return out, m.peers.call(ctx, leader, http.MethodGet, "/v1/ca?relayed=1", nil, out)
}
