package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/cluster/loop"
	"github.com/mesita/mesita/cluster/tlsconf"
	"github.com/mesita/mesita/fsm"
	"github.com/mesita/mesita/gossip"
)

// Voters have the key of the CA, and who was one keeps it. So it changes when one is
// removed by force or demoted, and when an admin asks for it, in the steps of
// fsm.CARotate: a node that is there says by gossip which one it has done, and
// one that is not follows when it comes back (see cafollow.go).

// caLoop changes the CA's key while this node leads.
type caLoop struct {
	store   *fsm.Store
	members func() []gossip.Member
	raft    func() ([]consensus.Server, error) // who gets the log, and so a new key
	wall    func() time.Time
	wake    func() <-chan struct{} // fires when gossip has news
	meta    func() fsm.Meta
	log     *slog.Logger
}

func (a *Agent) caLoop() *caLoop {
	return &caLoop{store: a.store, members: a.members, raft: a.raft.Members, wall: a.cfg.Wall, wake: a.changed.wait, log: a.log,
		meta: func() fsm.Meta { return fsm.Meta{At: a.cfg.Now(), Actor: "ca"} }}
}

func (l *caLoop) Run(ctx context.Context) error {
	w := &loop.Loop{Store: l.store, Tables: []fsm.Table{fsm.TableNodes, fsm.TableCluster}, Now: time.Now, Wake: l.wake, Pass: l.pass}
	return w.Run(ctx)
}

func (l *caLoop) pass(ctx context.Context, _ loop.Changes) time.Time {
	v := l.store.View()
	a := v.Authority()
	switch {
	case a == nil, a.CANext == nil && a.CADue == 0:
		return time.Time{}
	case a.CANext == nil:
		return l.begin(ctx, v)
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

// caPause is between two tries to begin a change that is due.
const caPause = 2 * time.Second

// begin changes the key for whom it is due, once all know how, and none gets it who
// may not have it.
func (l *caLoop) begin(ctx context.Context, v *fsm.View) time.Time {
	err := mayBeginCA(v, l.raft)
	if err == nil {
		var cmd *fsm.CARotate
		if cmd, err = newCA(v, l.wall()); err == nil {
			cmd.Meta = l.meta()
			_, err = l.store.Do(ctx, cmd)
		}
	}
	if err != nil {
		l.log.Info("the change of the CA's key that is due has not begun yet", "why", err)
		return time.Now().Add(caPause)
	}
	return time.Time{}
}

// mayBeginCA says why no change of the CA's key can begin now. The next key is in the
// log, which those must not get any more that the last one is changed for.
func mayBeginCA(v *fsm.View, raft func() ([]consensus.Server, error)) error {
	if err := v.Allows(new(fsm.CARotate)); err != nil {
		return err
	}
	for n := range v.Nodes() {
		if (n.State == api.NodeReady || n.State == api.NodeDraining) && !v.NodeDoes(fsm.CAChanges, n) {
			return api.Errorf(api.CodeConflict, "the program of node %s does not know how the key of the CA is changed: upgrade it first", n.Name)
		}
	}
	servers, err := raft()
	if err != nil {
		return err
	}
	for _, s := range servers {
		if n := v.Node(s.ID); n == nil || n.State == api.NodeGone || n.WorkerOnly {
			return api.Errorf(api.CodeConflict, "node %s would still get the new key, as it takes part in Raft until it is taken out, which most voters must be there for: try again then", nodeName(v, s.ID))
		}
	}
	return nil
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
	if err := mayBeginCA(v, m.raft.Members); err != nil {
		return api.CAStatus{}, err
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
	return &fsm.CARotate{Step: a.CAStep, Due: a.CADue, Cert: ca.CertPEM(), Key: ca.KeyPEM(), Pin: ca.Pin(), Cross: cross}, nil
}
