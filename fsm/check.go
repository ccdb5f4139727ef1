package fsm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math/bits"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
)

// MaxStateAnswers bounds the answers of a StateCheck.
const MaxStateAnswers = 64

// StateCheck has each voter hash the state that it has after this entry, in the
// background, and compares what they found after the one before: the same log
// has to give the same state everywhere. Who differs from most is odd; where
// there is no majority, nothing is written until that is settled. Its value is
// the *api.StateCheck.
type StateCheck struct {
	Meta
	Of      uint64            `json:"of,omitempty"`
	Answers []api.StateAnswer `json:"answers,omitempty"`
}

func (c *StateCheck) apply(x *tx) (any, error) {
	switch {
	case x.cluster == nil:
		return nil, conflict("the cluster is not made yet")
	case len(c.Answers) > MaxStateAnswers:
		return nil, conflict("%d answers, at most %d are looked at", len(c.Answers), MaxStateAnswers)
	}
	n := &api.StateCheck{Index: x.index, Of: c.Of, Answers: slices.Clone(c.Answers)}
	slices.SortFunc(n.Answers, byNode)
	compared := judge(n)
	was := x.check
	x.check = n
	x.touch(TableCluster, x.cluster.ID)
	if was != nil && was.Split && !x.settles(n, was) {
		if !n.Split {
			n.Of, n.Answers, n.Odd, n.Split = was.Of, was.Answers, was.Odd, true
			return n, nil
		}
		n.Answers = append(n.Answers, x.silent(n, was)...)
		slices.SortFunc(n.Answers, byNode)
	}
	if n.Split {
		x.openIncident(api.Incident{Kind: api.IncidentStatesDiffer, Object: x.cluster.ID, Message: "the voters hold different states: " + x.found(n), Action: "nothing is written until one of them is removed"})
	} else if compared > 0 {
		x.closeIncident(api.IncidentStatesDiffer, x.cluster.ID, "the voters that are left hold the same state")
	}
	for _, a := range n.Answers {
		switch node := x.nameOf(a.NodeID); {
		case slices.Contains(n.Odd, a.NodeID):
			x.openIncident(api.Incident{Kind: api.IncidentStatesDiffer, Object: a.NodeID, Node: node, Message: "its state differs from that of the other voters: " + x.found(n), Action: "it is filled anew"})
		case compared > 1 && !n.Split:
			x.closeIncident(api.IncidentStatesDiffer, a.NodeID, "its state is that of the others again")
		}
	}
	return n, nil
}

func byNode(a, b api.StateAnswer) int { return strings.Compare(a.NodeID, b.NodeID) }

// settles reports whether a check ends a split.
func (x *tx) settles(n, split *api.StateCheck) bool {
	agree := 0
	for i := range n.Answers {
		same := 0
		for k := range n.Answers {
			if a, b := &n.Answers[i], &n.Answers[k]; a.Version == b.Version && a.Same(b) {
				same++
			}
		}
		agree = max(agree, same)
	}
	return !n.Split && 2*agree > len(n.Answers)+len(x.silent(n, split))
}

// silent are the earlier answers of those in a split that have not answered since
// and were not removed.
func (x *tx) silent(n, split *api.StateCheck) (out []api.StateAnswer) {
	for _, a := range split.Answers {
		node, err := x.node(a.NodeID)
		gone := err == nil && node.State == api.NodeGone
		if !gone && !slices.ContainsFunc(n.Answers, func(b api.StateAnswer) bool { return b.NodeID == a.NodeID }) {
			out = append(out, a)
		}
	}
	return out
}

// judge compares the answers of each version, and returns how many could be
// compared in the largest group.
func judge(n *api.StateCheck) (compared int) {
	byVersion := map[string][]*api.StateAnswer{}
	for i := range n.Answers {
		a := &n.Answers[i]
		byVersion[a.Version] = append(byVersion[a.Version], a)
	}
	for _, group := range byVersion { // in any order: what follows does not depend on it
		compared = max(compared, len(group))
		most := group[0]
		for _, a := range group {
			if alike(group, a) > alike(group, most) {
				most = a
			}
		}
		switch same := alike(group, most); {
		case same == len(group):
		case 2*same > len(group):
			for _, a := range group {
				if !a.Same(most) {
					n.Odd = append(n.Odd, a.NodeID)
				}
			}
		default:
			n.Split = true
		}
	}
	slices.Sort(n.Odd)
	return compared
}

func alike(group []*api.StateAnswer, a *api.StateAnswer) (n int) {
	for _, b := range group {
		if a.Same(b) {
			n++
		}
	}
	return n
}

// found says who has which hash.
func (x *tx) found(n *api.StateCheck) string {
	var out []string
	for _, a := range n.Answers {
		out = append(out, fmt.Sprintf("%s has %s (log %s)", x.nameOf(a.NodeID), a.State, a.Log))
	}
	return fmt.Sprintf("after entry %d ", n.Of) + strings.Join(out, ", ")
}

func (x *tx) nameOf(id string) string {
	if n, err := x.node(id); err == nil {
		return n.Name
	}
	return id
}

// StateCheck is the last one, nil if there was none.
func (v *View) StateCheck() *api.StateCheck { return v.t.check }

// settled refuses what would be written while nobody knows which state is the
// right one, except for what may settle it.
func (v *View) settled(c Command) error {
	if v.t.check == nil || !v.t.check.Split {
		return nil
	}
	switch c.(type) {
	case *StateCheck, *NodeHello, *NodeClaim, *NodeRemove, *ClusterRecovered:
		return nil
	}
	var who []string
	for _, a := range v.t.check.Answers {
		name := a.NodeID
		if n := v.Node(a.NodeID); n != nil {
			name = n.Name
		}
		who = append(who, name+" ("+a.State+")")
	}
	return api.Errorf(api.CodeUnavailable, "the voters %s hold different states, and nothing is written until it is known which is right: see `mesita incidents`, and remove the wrong one with `mesita node rm`", strings.Join(who, " and "))
}

// StateHash is a hash of all that is in the view, in the order of the keys,
// and of the log that led to it. Events are left out: a node that restored a
// snapshot has fewer. It takes about a microsecond per row.
func (v *View) StateHash() (state, log string, err error) {
	h := sha256.New()
	if err := v.t.write(h); err != nil {
		return "", "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), fmt.Sprintf("%016x", v.t.logHash), nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chain adds a log entry to the hash of all before it: a checksum of each, which
// costs next to nothing, mixed as FNV does (Fowler, Noll and Vo).
func chain(hash, index uint64, data []byte) uint64 {
	const prime = 1099511628211
	hash = (bits.RotateLeft64(hash, 5) ^ index) * prime
	return (bits.RotateLeft64(hash, 5) ^ uint64(crc32.Checksum(data, castagnoli))) * prime
}

// checks holds the newest view that is to be hashed.
type checks chan *View

// offer replaces one that nobody has come for.
func (c checks) offer(v *View) {
	for {
		select {
		case c <- v:
			return
		default:
		}
		select {
		case <-c:
		default:
		}
	}
}

// Checks gives the views that are to be hashed: each as it was after a
// StateCheck. One that is not taken before the next is dropped.
func (s *Store) Checks() <-chan *View { return s.checks }

// checkDue gives the view away if the entry asked for it.
func (s *Store) checkDue(index uint64) {
	if s.t.check != nil && s.t.check.Index == index {
		s.checks.offer(&View{t: s.t.freeze()})
	}
}
