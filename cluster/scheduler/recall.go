package scheduler

import (
	"maps"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/scheduler/reserve"
)

// Memory is what an engine remembers that the state does not tell, after a pass:
// for whom room is held, who waits first since when and with what averages, who
// was let in late, and what is being taken back. It is a copy that nobody changes.
type Memory struct {
	holds, more map[string]*reserve.Hold
	quotas      map[string]*reserve.Quota
	heads       map[string]*reserve.Head
	shares      reserve.Averages
	late        map[string]*letIn
	claims      []*claim

	index uint64
	held  map[string]api.Resources
}

// Index is that of the view that the pass was over.
func (m *Memory) Index() uint64 { return m.index }

// Held is what is held of nodes for tasks that will start there, by their ids.
func (m *Memory) Held() map[string]api.Resources { return m.held }

// heldNow is it of an engine.
func (e *Engine) heldNow() map[string]api.Resources {
	if len(e.holds)+len(e.more)+len(e.claims) == 0 {
		return nil
	}
	out := map[string]api.Resources{}
	for _, holds := range []map[string]*reserve.Hold{e.holds, e.more} {
		for _, h := range holds {
			for slot, n := range h.Tasks {
				id := e.slots.Node[slot].ID
				out[id] = out[id].Add(h.Need.Times(n))
			}
		}
	}
	for _, c := range e.claims {
		out[c.node] = out[c.node].Add(c.need)
	}
	return out
}

// Remember copies what the engine remembers. A hold or a quota is made
// anew by each pass, and never changed after it.
func (e *Engine) Remember() *Memory {
	return &Memory{holds: maps.Clone(e.holds), more: maps.Clone(e.more), quotas: maps.Clone(e.quotas), heads: copyHeads(e.heads), shares: e.shares.Clone(), late: maps.Clone(e.late), claims: copyClaims(e.claims),
		index: e.view.Index(), held: e.heldNow()}
}

// recall has an engine remember what another one did, nil: nothing. It follows the
// state by Update as before.
func (e *Engine) recall(m *Memory) {
	if e.fresh = m == nil; e.fresh {
		m = &Memory{}
	}
	e.holds, e.more, e.quotas, e.heads, e.shares = maps.Clone(m.holds), maps.Clone(m.more), maps.Clone(m.quotas), copyHeads(m.heads), m.shares.Clone()
	e.late, e.claims = maps.Clone(m.late), copyClaims(m.claims)
	if e.late == nil {
		e.late = map[string]*letIn{}
	}
}

func copyHeads(heads map[string]*reserve.Head) map[string]*reserve.Head {
	if heads == nil {
		return nil
	}
	out := make(map[string]*reserve.Head, len(heads))
	for path, h := range heads {
		out[path] = h.Clone()
	}
	return out
}

func copyClaims(claims []*claim) []*claim {
	out := slices.Clone(claims)
	for i, c := range out {
		copied := *c
		out[i] = &copied
	}
	return out
}
