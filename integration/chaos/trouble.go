package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/chaos/record"
	"github.com/mesita/mesita/integration/lab"
)

// settled is how long a node must have been ready after a fault before that
// excuses nothing any more: a decision of meanwhile may be on its way.
const settled = 5 * time.Second

// excusesNothing is a fault after which all that runs can still be asked for.
const excusesNothing record.Trouble = ""

// hit marks nodes before something is done to them; others faults leave them
// alone until it is over. The record has, too, when each was well again.
func (r *run) hit(how record.Trouble, nodes ...*lab.Node) (over func()) {
	nodes = slices.Clone(nodes)
	var spans []string
	for _, n := range nodes {
		r.hurt[n]++
		r.spans++
		spans = append(spans, fmt.Sprint(r.spans))
		if how != excusesNothing {
			r.must(r.record.Trouble(how, fmt.Sprint(r.spans), n.Name))
		}
	}
	return func() {
		all := slices.Clone(r.nodes)
		for i, n := range nodes {
			if r.hurt[n]--; r.hurt[n] == 0 {
				delete(r.hurt, n)
			}
			if how != excusesNothing {
				r.recovering.Go(func() { r.noteSound(all, n.Name, spans[i]) })
			}
		}
	}
}

// noteSound waits until a node was taken in again.
func (r *run) noteSound(all []*lab.Node, name, span string) {
	since := time.Now()
	for time.Since(since) < settled {
		lab.Pause(r.ctx, 200*time.Millisecond)
		if r.ctx.Err() != nil {
			return
		}
		if !takenIn(all, name) {
			since = time.Now()
		}
	}
	if err := r.record.Sound(span, name, func() []record.Attempt { return r.runningOn(name) }); err != nil {
		r.stage.Errorf("%v", err)
	}
}

// takenIn reports whether a leader has that node as ready.
func takenIn(all []*lab.Node, name string) bool {
	for _, n := range all {
		var h api.Health
		if n.Call("GET", "/v1/health", nil, &h) != nil || h.Leader != n.Name {
			continue
		}
		return slices.ContainsFunc(n.Members(), func(m api.NodeStatus) bool { return m.Name == name && m.State == api.NodeReady })
	}
	return false
}

// runningOn lists the attempts whose shells run on a node.
func (r *run) runningOn(node string) (out []record.Attempt) {
	for _, pid := range lab.PidsOf(r.record.InCommandLine()) {
		n, err := strconv.Atoi(lab.EnvOf(pid, "MESITA_ATTEMPT"))
		if lab.EnvOf(pid, "MESITA_NODE") == node && err == nil { // or it has just ended
			out = append(out, record.Attempt{Task: lab.EnvOf(pid, "MESITA_TASK_ID"), Number: n})
		}
	}
	return out
}
