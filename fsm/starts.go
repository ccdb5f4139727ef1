package fsm

import (
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

// This file decides what follows when an attempt could not be started. That
// costs the task none of its retries, since it never ran: it goes elsewhere. A
// node that cannot start any is left alone, but for a trial now and then; what
// can start nowhere is the task's own fault.

const (
	troubleStarts = 3                // failed starts of as many tasks
	troubleWithin = 10 * time.Second // below the level of WidelyFailed, then avoidFor: any start that works ends it
	trialEvery    = 30 * time.Second

	ownNodes    = 3 // distinct nodes on which the same failure is the task's own
	ownAttempts = api.MaxAttempts - 1

	avoidFor  = 10 * time.Minute // a node is avoided by a job for want of what it needs
	maxAvoids = 16
)

// neverRan reports whether an attempt ended before it had a process.
func neverRan(state api.TaskState, reason api.Reason, pid int, started time.Time) bool {
	if state != api.TaskFailed || pid != 0 || !started.IsZero() {
		return false
	}
	return ofMachine(reason) || reason == api.ReasonPortTaken || reason == api.ReasonStartFailed || reason == api.ReasonFetchFailed || reason == api.ReasonUnsupported
}

// ofMachine reports whether the reason for which nothing could be started lies in
// the machine; else something is missing there that others may have.
func ofMachine(r api.Reason) bool {
	return r == api.ReasonInternal || r == api.ReasonDiskFull || r == api.ReasonKeeperLost
}

// startFailed takes note of an attempt that could not be started. It reports
// whether the task goes elsewhere, and not before when; otherwise its job's
// policy says what follows, as for any other failure.
func (x *tx) startFailed(j *api.Job, t *api.Task) (notBefore time.Time, elsewhere bool) {
	if !x.does(FailedStarts) || t.Hosted() || !neverRan(t.State, t.Reason, t.PID, t.Started) {
		return time.Time{}, false
	}
	if t.Reason == api.ReasonPortTaken {
		return x.portTaken(t)
	}
	if ofMachine(t.Reason) {
		x.nodeInTrouble(t)
	}
	left := x.avoid(j, t)
	nodes, same, tries := []string{t.NodeID}, []string{t.NodeID}, 1
	for _, a := range slices.Backward(t.Earlier) {
		if !neverRan(a.State, a.Reason, a.PID, a.Started) || x.ofOlder(t, a.Version) {
			break
		}
		tries++
		nodes = append(nodes, a.NodeID)
		if a.Reason == t.Reason {
			same = append(same, a.NodeID)
		}
	}
	switch {
	case tries >= ownAttempts,
		!ofMachine(t.Reason) && !left,
		t.Reason != api.ReasonDiskFull && distinct(same) >= ownNodes:
		return time.Time{}, false
	case left && distinct(nodes) == tries:
		return time.Time{}, true
	}
	return x.At.Add(backoff(tries, time.Second, time.Minute)), true
}

// portTaken is what follows when another program had a port of the task's: it
// gets another one, or waits until its own is free somewhere. The node knows by
// now that the port is taken; only if that is told and is not so does it come
// here again and again, ever more slowly.
func (x *tx) portTaken(t *api.Task) (notBefore time.Time, elsewhere bool) {
	if !x.does(OutsideUse) {
		return time.Time{}, false
	}
	again := 0
	for _, a := range slices.Backward(t.Earlier) {
		if a.Reason != api.ReasonPortTaken || x.ofOlder(t, a.Version) {
			break
		}
		again++
	}
	if again < freePortTries {
		return time.Time{}, true
	}
	return x.At.Add(backoff(again, time.Second, time.Minute)), true
}

const freePortTries = 3 // at once: each has another port, or another node

// takenPorts notes of a node that others have some of its ports.
func (x *tx) takenPorts(nodeID string, by []api.PortHolder) {
	row := x.rowAt(nodeID)
	if len(by) == 0 || row == nil {
		return
	}
	n := *row.node
	if n.Outside = n.Outside.With(by); !n.Outside.Equal(row.node.Outside) {
		x.putNode(&n)
	}
}

func distinct(ids []string) int {
	slices.Sort(ids)
	return len(slices.Compact(ids))
}

// avoid has the other tasks of a job start elsewhere. It reports whether there is
// a node left that the job does not avoid.
func (x *tx) avoid(j *api.Job, t *api.Task) (left bool) {
	now := x.jobAt(j.ID)
	next := *now
	next.Avoid = []api.AvoidedNode{{NodeID: t.NodeID, Node: t.Node, Reason: t.Reason, At: x.At}}
	for _, a := range now.Avoid {
		if a.NodeID != t.NodeID && avoided(&a, x.At) && len(next.Avoid) < maxAvoids {
			next.Avoid = append(next.Avoid, a)
		}
	}
	x.replaceJob(&next)
	return len(x.avoids(&next, x.At)) > 0
}

// avoided reports whether what was found out about a node still holds good. What
// is in the future is not trusted: the clock was wrong then, or is now.
func avoided(a *api.AvoidedNode, now time.Time) bool { return now.Sub(a.At).Abs() < avoidance(a) }

// avoidance is how long. What is wrong with a machine is found out by trials.
func avoidance(a *api.AvoidedNode) time.Duration {
	if ofMachine(a.Reason) {
		return trialEvery
	}
	return avoidFor
}

// avoids is the nodes that a job's tasks should not go to, nil if there are
// none, or none but those.
func (t *tables) avoids(j *api.Job, now time.Time) map[string]bool {
	var ids map[string]bool
	for i := range j.Avoid {
		if a := &j.Avoid[i]; avoided(a, now) {
			if ids == nil {
				ids = map[string]bool{}
			}
			ids[a.NodeID] = true
		}
	}
	if ids == nil {
		return nil
	}
	part, need := t.eligible(j.Spec.Partition), j.Spec.Need()
	if part == nil {
		return ids
	}
	need.Ports = nil
	other := false
	for r := range t.nodes.all() {
		n := r.node
		if other = !ids[n.ID] && n.State == api.NodeReady && !n.Drain && !n.VoterOnly && part.Uses(n) && j.Spec.Uses(n) && n.Resources.Fits(need); other {
			break
		}
	}
	if !other {
		return nil
	}
	return ids
}

// Avoids is the nodes that a job's tasks do not go to, since some could not
// start there, and when the first of them is tried again.
func (v *View) Avoids(j *api.Job, now time.Time) (ids map[string]bool, again time.Time) {
	if len(j.Avoid) == 0 {
		return nil, time.Time{}
	}
	for i := range j.Avoid {
		if a := &j.Avoid[i]; avoided(a, now) && (again.IsZero() || a.At.Add(avoidance(a)).Before(again)) {
			again = a.At.Add(avoidance(a))
		}
	}
	return v.t.avoids(j, now), again
}

// nodeInTrouble counts a failed start against its node.
func (x *tx) nodeInTrouble(t *api.Task) {
	row := x.rowAt(t.NodeID)
	if row == nil || row.node.State == api.NodeGone {
		return
	}
	n, st := *row.node, api.StartTrouble{}
	if n.Starts != nil {
		st = *n.Starts
	}
	st.Failed, st.Message = x.failedStarts(st.Failed, t), t.Message
	switch {
	case !st.Since.IsZero():
		st.Again = x.At.Add(trialEvery)
	case len(st.Failed) >= troubleStarts && !x.onesOwn(st.Failed):
		st.Since, st.Again = x.At, x.At.Add(trialEvery)
		x.happened(api.Event{Kind: api.EventNodeUpdated, Object: n.ID, Node: n.Name, Message: api.NoStarts + st.Message})
	}
	n.Starts = &st
	x.nodeIncidents(row.node, &n)
	x.putNode(&n)
}

// failedStarts is the newest that failed, each of another task, with that of t. Of
// too many the oldest goes of whom there is another.
func (x *tx) failedStarts(before []api.FailedStart, t *api.Task) (failed []api.FailedStart) {
	within, now := troubleWithin, api.FailedStart{Task: t.ID, At: x.At}
	if x.does(WidelyFailed) {
		within = avoidFor
		if j := x.jobAt(t.Job); j != nil {
			now.Owner = x.owner(j)
		}
	}
	for _, f := range before {
		if f.Task != t.ID && x.At.Sub(f.At).Abs() < within {
			failed = append(failed, f)
		}
	}
	failed = append(failed, now)
	for len(failed) > troubleStarts {
		others := func(f api.FailedStart) bool {
			return slices.ContainsFunc(failed, func(o api.FailedStart) bool { return o.Task != f.Task && o.Owner == f.Owner })
		}
		oldest := max(0, slices.IndexFunc(failed, others))
		failed = slices.Delete(failed, oldest, oldest+1)
	}
	return failed
}

// onesOwn reports whether all that failed is of one user, while others have jobs, too:
// then it may be what that user asks for, of which the node is left alone for nobody else.
func (x *tx) onesOwn(failed []api.FailedStart) bool {
	if !x.does(WidelyFailed) || slices.ContainsFunc(failed, func(f api.FailedStart) bool { return f.Owner != failed[0].Owner }) {
		return false
	}
	return x.othersHaveJobs(failed[0].Owner)
}

// startWorked takes note that an attempt runs.
func (x *tx) startWorked(t *api.Task) {
	if row := x.rowAt(t.NodeID); row != nil && row.node.Starts != nil {
		n := *row.node
		n.Starts = nil
		if !row.node.Starts.Since.IsZero() {
			x.happened(api.Event{Kind: api.EventNodeUpdated, Object: n.ID, Node: n.Name, Message: "it gets new tasks again: one started there"})
		}
		x.nodeIncidents(row.node, &n)
		x.putNode(&n)
	}
	if j := x.jobAt(t.Job); j != nil && len(j.Avoid) > 0 {
		next := *j
		next.Avoid = slices.DeleteFunc(slices.Clone(j.Avoid), func(a api.AvoidedNode) bool { return a.NodeID == t.NodeID })
		x.replaceJob(&next)
	}
}

// tried ends a node's trial: it got its task.
func (x *tx) tried(nodeID string) {
	row := x.rowAt(nodeID)
	if row == nil || row.node.Starts == nil || !row.node.Starts.Trial {
		return
	}
	n, st := *row.node, *row.node.Starts
	st.Trial, st.Again = false, x.At.Add(trialEvery)
	n.Starts = &st
	x.putNode(&n)
}

// NodeTrial lets a node have one task although starts failed there, to find out
// whether they still do. Its value is the *api.Node.
type NodeTrial struct {
	Meta
	ID    string    `json:"id"`
	Since time.Time `json:"since"` // of the trouble that the decision was made on
}

func (c *NodeTrial) apply(x *tx) (any, error) {
	old, err := x.node(c.ID)
	if err != nil {
		return nil, err
	}
	if old.Starts == nil || old.Starts.Trial || old.Starts.Since.IsZero() || !old.Starts.Since.Equal(c.Since) {
		return nil, conflict("node %s no longer needs a trial", old.Name)
	}
	n, st := *old, *old.Starts
	st.Trial = true
	n.Starts = &st
	x.putNode(&n)
	return &n, nil
}

// NodeClock records by how much a node's clock is ahead of most, 0 if it is right.
// Its value is the *api.Node.
type NodeClock struct {
	Meta
	ID  string       `json:"id"`
	Off api.Duration `json:"off"`
}

func (c *NodeClock) apply(x *tx) (any, error) {
	old, err := x.node(c.ID)
	if err != nil {
		return nil, err
	}
	if !here(old) {
		return nil, conflict("node %s is now %s", old.Name, old.State)
	}
	n := *old
	n.ClockOff = c.Off
	x.nodeIncidents(old, &n)
	x.putNode(&n)
	return &n, nil
}

// TrialDue is when a node on which starts fail may have one task; false if it
// needs no trial, or one is under way.
func (v *View) TrialDue(n *api.Node, now time.Time) (time.Time, bool) {
	if !n.Starts.Stopped() || n.State != api.NodeReady {
		return time.Time{}, false
	}
	for t := range v.NodeTasks(n.ID) {
		if t.State == api.TaskStaging {
			return time.Time{}, false
		}
	}
	if n.Starts.Again.Sub(now) > trialEvery { // the clock was set back
		return now, true
	}
	return n.Starts.Again, true
}
