package fsm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mesita/mesita/api"
)

// This file has when incidents are over: none is open about what no longer
// exists, or is no longer wanted.

// nodeFault is something that is wrong with a node for as long as its row says
// so.
type nodeFault struct {
	kind   api.IncidentKind
	has    func(*api.Node) bool
	tell   func(*api.Node) string
	action string
	over   string // what ended it, if the node is still there
	moves  bool   // its tasks, but for those that run at most once
}

func here(n *api.Node) bool { return n.State == api.NodeReady || n.State == api.NodeDraining }

var nodeFaults = []nodeFault{
	{api.IncidentNodeLost, func(n *api.Node) bool { return n.State == api.NodeUnreachable && !n.Away }, func(n *api.Node) string { return n.Reason },
		"its tasks start elsewhere", "it came back", true},
	{api.IncidentNodeStopped, func(n *api.Node) bool { return n.State == api.NodeDown && !n.Away }, func(n *api.Node) string { return cmp.Or(n.Reason, "was stopped") },
		"its tasks moved", "it came back", true},
	{api.IncidentNodeAway, func(n *api.Node) bool { return n.Away }, func(n *api.Node) string { return n.Reason },
		"it gets no new work; services start elsewhere if it stays away", "it came back", true},
	{api.IncidentDiskFull, func(n *api.Node) bool { return here(n) && n.DiskFull }, func(*api.Node) string { return "its data folder has no room" },
		"it gets no new work", "there is room again", false},
	{api.IncidentKeeperHangs, func(n *api.Node) bool { return here(n) && n.KeeperSilent }, func(*api.Node) string { return "its keeper, the parent of its tasks, does not answer" },
		"it gets no new work; what runs goes on, and its end is seen once the keeper answers", "the keeper answers again", false},
	{api.IncidentStartsFail, func(n *api.Node) bool { return here(n) && n.Starts != nil && !n.Starts.Since.IsZero() }, func(n *api.Node) string { return n.Starts.Message },
		fmt.Sprintf("its tasks start elsewhere; one is tried there every %s", trialEvery), "a task started there again", false},
	{api.IncidentOutdated, func(n *api.Node) bool { return here(n) && n.Outdated }, func(n *api.Node) string {
		return "its mesita (" + n.Version + ") is older than the level of the cluster"
	},
		"it gets no new work, its tasks go on: upgrade mesita on this node", "it was upgraded", false},
	{api.IncidentAudit, func(n *api.Node) bool { return here(n) && n.Audit != nil && n.Audit.Trouble != "" }, func(n *api.Node) string { return "its audit: " + n.Audit.Trouble },
		"the node goes on; see `mesita audit verify`", "nothing is wrong with what was recorded since", false},
	{api.IncidentFlooded, func(n *api.Node) bool { return here(n) && n.Flood != nil }, func(n *api.Node) string { return n.Flood.Text() },
		"others are served: end it, keep its address out, or revoke its token", "it is not flooded any more", false},
	{api.IncidentLogBroken, func(n *api.Node) bool { return here(n) && n.LogFault != "" }, (*api.Node).LogFaultText,
		"the other voters go on while they are a majority; it does not lead", "it can be written again", false},
	{api.IncidentClockOff, func(n *api.Node) bool { return here(n) && n.ClockOff != 0 }, (*api.Node).ClockText, "nothing: its tasks go by the time since boot", "its clock is right again", false},
}

// nodeIncidents opens and closes the incidents that follow from a node's
// change, before that is stored.
func (x *tx) nodeIncidents(old, n *api.Node) {
	if n.Starts != nil && (!here(n) || n.Boot != old.Boot) {
		n.Starts = nil // what was found out holds no longer
	}
	if !here(n) {
		n.ClockOff = 0
	}
	if !x.does(IncidentsEnd) {
		x.nodeIncidents0(old, n)
		return
	}
	for i := range nodeFaults {
		f := &nodeFaults[i]
		switch had, has := f.has(old), f.has(n); {
		case has && !had:
			action := f.action
			if f.moves {
				action += x.butOnce(n)
			}
			x.openIncident(api.Incident{Kind: f.kind, Object: n.ID, Node: n.Name, Message: f.tell(n), Action: action})
		case had && !has:
			why := f.over
			if !here(n) {
				why = map[api.NodeState]string{api.NodeUnreachable: "it does not answer", api.NodeDown: "it was stopped", api.NodeGone: "it was removed"}[n.State]
			}
			x.closeIncident(f.kind, n.ID, why)
		}
	}
}

// refillIncident records that a voter had lost something and was sent it again:
// when it can tell, that is over.
func (x *tx) refillIncident(old, n *api.Node) {
	r := n.Refill
	if r == nil || r.Equal(old.Refill) {
		return
	}
	from := "the leader"
	if l, err := x.node(r.From); err == nil {
		from = l.Name
	}
	x.openIncident(api.Incident{Kind: api.IncidentRefilled, Object: n.ID, Node: n.Name, Message: r.Lost,
		Action: fmt.Sprintf("it was sent %s from %s, and votes again", api.Count(int(r.Entries), "log entry"), from), Over: x.At})
}

// nodeIncidents0 is what follows at level 0.
func (x *tx) nodeIncidents0(old, n *api.Node) {
	lost := func(s api.NodeState) bool { return s == api.NodeUnreachable }
	switch {
	case lost(n.State) && !lost(old.State):
		x.openIncident(api.Incident{Kind: api.IncidentNodeLost, Object: n.ID, Node: n.Name, Message: n.Reason, Action: "its tasks start elsewhere"})
	case lost(old.State) && here(n):
		x.closeIncident(api.IncidentNodeLost, n.ID, "it came back")
	case lost(old.State) && n.State == api.NodeGone:
		x.closeIncident(api.IncidentNodeLost, n.ID, "it was removed")
	}
	switch {
	case n.DiskFull && !old.DiskFull:
		x.openIncident(api.Incident{Kind: api.IncidentDiskFull, Object: n.ID, Node: n.Name, Message: "its data folder has no room", Action: "it gets no new work"})
	case !n.DiskFull && old.DiskFull:
		x.closeIncident(api.IncidentDiskFull, n.ID, "there is room again")
	}
}

// unwanted says why the failures of a task are nobody's concern any more, ""
// if they are somebody's: the task is to run. A service that gave up is to.
func unwanted(j *api.Job, t *api.Task) string {
	switch {
	case j == nil || t == nil:
		return "it was removed"
	case j.Stop || t.Desired == api.DesiredStop:
		return "it was stopped"
	case t.State.Final() && (j.Spec.Kind == api.KindBatch || t.State == api.TaskKilled):
		return "it ended"
	}
	return ""
}

// taskUnwanted closes the incidents of a task that is not to run any more; t is
// nil if it is removed.
func (x *tx) taskUnwanted(id, job string, t *api.Task) {
	if x.newest.Len() == 0 || x.loading || !x.does(IncidentsEnd) {
		return
	}
	if why := unwanted(x.jobAt(job), t); why != "" {
		x.taskIncidentsOver(id, why)
	}
}

// jobUnwanted does so for all tasks of a job that was stopped.
func (x *tx) jobUnwanted(job string) {
	if x.newest.Len() == 0 || !x.does(IncidentsEnd) {
		return
	}
	for _, t := range x.jobTasks(job) {
		x.taskIncidentsOver(t.ID, "it was stopped")
	}
}

// gaveUp says in a task's incident that it will not start again.
func (x *tx) gaveUp(t *api.Task) {
	if !x.does(IncidentsEnd) {
		return
	}
	for _, kind := range taskKinds {
		if old := x.newestOf(kind, t.ID); old != nil && old.Over.IsZero() {
			n := *old
			n.Action = fmt.Sprintf("gave up after attempt %d", t.Attempt)
			x.incidents.put(x, &n)
		}
	}
}

// over says why an incident should not be open, "" if it should.
func (t *tables) over(n *api.Incident) string {
	for i := range nodeFaults {
		if f := &nodeFaults[i]; f.kind == n.Kind {
			row := t.nodes.get(&nodeRow{node: &api.Node{ID: n.Object}})
			switch {
			case row == nil || row.node.State == api.NodeGone:
				return "it was removed"
			case !f.has(row.node):
				return f.over
			}
			return ""
		}
	}
	job, index, ok := splitTaskID(n.Object)
	if !ok || !slices.Contains(taskKinds, n.Kind) {
		return ""
	}
	return unwanted(t.jobs.get(&api.Job{ID: job}), t.tasks.get(&api.Task{Job: job, Index: index}))
}

// closeStale closes what stayed open before incidents had their end.
func (x *tx) closeStale() {
	var stale []*api.Incident
	for n := range x.incidents.all() {
		if n.Over.IsZero() && x.over(n) != "" {
			stale = append(stale, n)
		}
	}
	for _, n := range stale {
		x.end(n, x.over(n))
	}
}

// IncidentClose closes incidents by hand: all of them or, if one is not open,
// none. Its value is how many.
type IncidentClose struct {
	Meta
	IDs []uint64 `json:"ids"`
}

func (c *IncidentClose) apply(x *tx) (any, error) {
	seen := map[uint64]bool{}
	var all []*api.Incident
	for _, id := range c.IDs {
		n := x.incidents.get(&api.Incident{ID: id})
		switch {
		case n == nil:
			return 0, api.NotFound("incident", fmt.Sprint(id))
		case !n.Over.IsZero():
			return 0, conflict("incident %d is over already, since %s: leave it out", id, strings.TrimSuffix(n.Action, "."))
		case !seen[id]:
			seen[id] = true
			all = append(all, n)
		}
	}
	for _, n := range all {
		x.end(n, "closed by "+cmp.Or(c.Actor, "hand"))
	}
	return len(all), nil
}
