package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
)

// Voters have the key of the CA, and who was one keeps it. So an admin changes it,
// in the steps of fsm.CARotate: a node that is there says by gossip which one it
// has done, and one that is not follows when it comes back (see cafollow.go).

// caLoop takes the change of the CA's key on while this node leads.
type caLoop struct {
	store   *fsm.Store
	members func() []gossip.Member
	wake    func() <-chan struct{} // fires when gossip has news
	meta    func() fsm.Meta
	log     *slog.Logger
}

func (a *Agent) caLoop() *caLoop {
	return &caLoop{store: a.store, members: a.members, wake: a.changed.wait, log: a.log,
		meta: func() fsm.Meta { return fsm.Meta{At: a.cfg.Now(), Actor: "ca"} }}
}

func (l *caLoop) Run(ctx context.Context) error {
	w := &loop.Loop{Store: l.store, Tables: []fsm.Table{fsm.TableNodes, fsm.TableCluster}, Now: time.Now, Wake: l.wake, Pass: l.pass}
	return w.Run(ctx)
}

func (l *caLoop) pass(ctx context.Context, _ loop.Changes) time.Time {
	v := l.store.View()
	a := v.Authority()
	if a == nil || a.CANext == nil {
		return time.Time{}
	}
	if s := caStatus(v, l.members()); len(s.Waiting) > 0 {
		return time.Time{} // each will say so by gossip, or be found to be away
	}
	if _, err := l.store.Do(ctx, &fsm.CARotate{Meta: l.meta(), Step: a.CAStep}); err != nil {
		l.log.Warn("changing the key of the CA failed; trying again", "err", err)
		return time.Now().Add(10 * time.Second)
	}
	return time.Time{}
}

var caPhases = [fsm.CASteps]string{"", "all nodes are told to trust the new key", "all nodes get certificates of the new key"}

// caStatus is how far a change of the CA's key is, and who is waited for.
func caStatus(v *fsm.View, members []gossip.Member) api.CAStatus {
	a := v.Authority()
	if a == nil {
		return api.CAStatus{}
	}
	s := api.CAStatus{Pin: a.Pin, Step: a.CAStep, Phase: caPhases[a.CAStep%fsm.CASteps]}
	if s.Phase == "" {
		return s
	}
	did := map[string]uint64{}
	for _, m := range members {
		did[m.ID] = m.Meta.CA
	}
	for n := range v.Nodes() {
		switch {
		case n.State == api.NodeGone:
		case n.State != api.NodeReady && n.State != api.NodeDraining:
			s.Away = append(s.Away, n.Name)
		case did[n.ID] < a.CAStep:
			s.Waiting = append(s.Waiting, n.Name)
		}
	}
	slices.Sort(s.Away)
	slices.Sort(s.Waiting)
	return s
}

// CA is how far a change of the CA's key is.
func (m members) CA() api.CAStatus { return caStatus(m.store.View(), m.members()) }

// RotateCA begins a change of the CA's key, at the leader.
func (m members) RotateCA(ctx context.Context, actor string) (api.CAStatus, error) {
	v := m.store.View()
	a := v.Authority()
	if a == nil {
		return api.CAStatus{}, api.Errorf(api.CodeUnavailable, "the cluster is not made yet: try again in a moment")
	}
	if a.CANext != nil {
		return api.CAStatus{}, api.Errorf(api.CodeConflict, "the key of the CA is being changed: `mesita cluster show` says who is waited for")
	}
	for n := range v.Nodes() {
		if v.Does(fsm.CAChanges) && (n.State == api.NodeReady || n.State == api.NodeDraining) && !v.NodeDoes(fsm.CAChanges, n) {
			return api.CAStatus{}, api.Errorf(api.CodeConflict, "the program of node %s does not know how the key of the CA is changed: upgrade it first", n.Name)
		}
	}
	cmd, err := newCA(v, m.cfg.Wall())
	if err != nil {
		return api.CAStatus{}, err
	}
	cmd.Meta = fsm.Meta{At: m.cfg.Now(), Actor: actor}
	if _, err := m.store.Do(ctx, cmd); err != nil {
		return api.CAStatus{}, err
	}
	return m.CA(), nil
}

// newCA makes the next key of the CA.
func newCA(v *fsm.View, now time.Time) (*fsm.CARotate, error) {
	c, a := v.Cluster(), v.Authority()
	old, err := tlsconf.LoadCA(a.CACert, a.CAKey)
	if err != nil {
		return nil, fmt.Errorf("load the cluster's CA: %w", err)
	}
	ca, err := tlsconf.NewCA(c.Name, c.ID, now)
	if err != nil {
		return nil, fmt.Errorf("make the cluster's next CA: %w", err)
	}
	cross, err := old.Cross(ca)
	if err != nil {
		return nil, err
	}
	return &fsm.CARotate{Step: a.CAStep, Cert: ca.CertPEM(), Key: ca.KeyPEM(), Pin: ca.Pin(), Cross: cross}, nil
}
