package agent

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/api/mesos/call"
	v1 "github.com/mesita/mesita/api/mesos/v1"
)

const (
	maxWaiting = 64              // updates of a task that the cluster has not taken; more have to wait
	waitTaken  = 5 * time.Second // for that
	maxReport  = 512             // updates in one
	maxBytes   = 1 << 20         // of them, likewise
	reportGap  = 2 * time.Millisecond
	maxSaid    = 1 << 10 // bytes of a message: all of it is in the status that is passed on
)

// Bytes of updates that wait: of one executor, of all, and of all with those of how tasks
// ended.
const (
	maxWaits    = 16 << 20
	allWaits    = 64 << 20
	allWithEnds = 2 * allWaits
)

// update is what became of a task, on its way to the cluster.
type update struct {
	status api.TaskStatus
	task   string // as its executor knows it; "" in the node's own name
}

func (u *update) id() string {
	if u.status.Update == nil {
		return ""
	}
	return string(u.status.Update.ID)
}

// size is how much of a report it is at most: a byte of a text may be six in JSON.
func (u *update) size() int {
	n := 1024 + 6*len(u.status.Message)
	if u.status.Update != nil {
		n += len(u.status.Update.Status)/3*4 + 4
	}
	return n
}

// room reports whether an update of a task may wait; the caller holds the lock.
func (d *Desk) room(h *host, t *task, u *update) bool {
	if u.status.State.Final() {
		return d.waits+u.size() <= allWithEnds
	}
	return len(t.waiting) < maxWaiting && h.waits+u.size() <= maxWaits && d.waits+u.size() <= allWaits
}

// await has an update wait for the cluster to take it; the caller holds the lock.
func (d *Desk) await(h *host, t *task, u update) {
	t.waiting = append(t.waiting, u)
	h.waits += u.size()
	d.waits += u.size()
	poke(d.reports)
}

// updateOf is what an executor says of a task, completed by what this node knows. Which of
// the cluster's tasks it is of is found later.
func (d *Desk) updateOf(h *host, s *v1.TaskStatus) (update, error) {
	now := d.cfg.Now()
	said := *s
	said.AgentID = &v1.AgentID{Value: d.cfg.NodeID}
	if said.Timestamp == nil {
		said.Timestamp = new(float64(now.UnixMicro()) / 1e6)
	}
	var box v1.ContainerStatus
	if s.ContainerStatus != nil {
		box = *s.ContainerStatus
	}
	if box.ContainerID == nil {
		box.ContainerID = &v1.ContainerID{Value: container(h.row)}
	}
	said.ContainerStatus = &box
	b, err := message(&said)
	if err != nil {
		return update{}, err
	}
	st := api.TaskStatus{NodeID: d.cfg.NodeID, State: stateOf[s.State], Message: shortened(v1.Get(said.Message)), Time: now, Update: &api.ExecutorUpdate{ID: s.UUID, Status: b}}
	if st.State == api.TaskFinished || st.State == api.TaskFailed {
		st.Reason = api.ReasonExited
	}
	return update{status: st, task: s.TaskID.Value}, nil
}

// shortened is the beginning of a text that may be of any length.
func shortened(s string) string {
	if len(s) <= maxSaid {
		return s
	}
	return strings.ToValidUTF8(s[:maxSaid], "") + "…"
}

// update takes what an executor says of a task. While too much of one task waits for the
// cluster, its executor does, too.
func (d *Desk) update(ctx context.Context, h *host, s *v1.TaskStatus) error {
	u, err := d.updateOf(h, s)
	if err != nil {
		return err
	}
	patience := time.NewTimer(waitTaken)
	defer patience.Stop()
	for {
		d.mu.Lock()
		moved := d.moved
		if t := h.task(u.task); t == nil || t.over || t.gone || d.room(h, t, &u) {
			d.takeUpdate(h, u, false)
			d.mu.Unlock()
			return nil
		}
		d.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-patience.C:
			return &call.Problem{Status: http.StatusServiceUnavailable, Body: "The cluster has not taken earlier updates of the task yet: send it again"}
		}
	}
}

// takeUpdate queues an update; the caller holds the lock. Of what the cluster has, or does
// not ask for any more, its executor is told at once that it is taken: it would send it for
// ever. What of that still runs it is to kill; ends is that it says below that it ended.
func (d *Desk) takeUpdate(h *host, u update, ends bool) {
	t := h.task(u.task)
	if t == nil || t.over || t.gone || t.last == u.id() {
		if t == nil {
			d.cfg.Log.Debug("an executor speaks of a task that is not its, or is over", "executor", h.row.ID, "task", u.task)
		}
		if h.out != nil {
			h.out.acknowledge(u.task, u.status.Update.ID)
		}
		if (t == nil || t.last != u.id()) && !ends && !u.status.State.Final() {
			d.killStray(h, u.task)
		}
		return
	}
	if slices.ContainsFunc(t.waiting, func(w update) bool { return w.id() == u.id() }) {
		return // it is on its way
	}
	u.status.Task, u.status.Attempt = t.row.ID, t.row.Attempt
	t.spoke, t.handed, h.handed = true, true, true
	d.await(h, t, u)
}

// batch is the oldest that waits of each task, as much as goes into one report.
func (d *Desk) batch() (statuses []api.TaskStatus) {
	d.mu.Lock()
	defer d.mu.Unlock()
	bytes, now := 0, d.cfg.Now()
	for _, h := range d.hosts {
		for _, t := range h.tasks {
			if len(t.waiting) == 0 {
				continue
			}
			if t.pace.next(t.waiting[0].status.State, now).After(now) {
				poke(d.wake) // which has it told in its time
				continue
			}
			if bytes += t.waiting[0].size(); len(statuses) > 0 && (len(statuses) >= maxReport || bytes > maxBytes) {
				return statuses
			}
			statuses = append(statuses, t.waiting[0].status)
		}
	}
	return statuses
}

// taken takes note that the cluster has what was reported, and tells the executors.
func (d *Desk) taken(statuses []api.TaskStatus) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.cfg.Now()
	of := map[string]*api.TaskStatus{}
	for i := range statuses {
		of[statuses[i].Task] = &statuses[i]
	}
	for _, h := range d.hosts {
		for id, t := range h.tasks {
			st := of[id]
			if st == nil || len(t.waiting) == 0 || t.waiting[0].status.Update != st.Update || t.waiting[0].status.State != st.State {
				continue
			}
			u := t.waiting[0]
			h.waits -= u.size()
			d.waits -= u.size()
			if t.waiting = t.waiting[1:]; len(t.waiting) == 0 {
				t.waiting = nil
			}
			t.over = t.over || st.State.Final()
			t.pace.told(st.State, now)
			if t.gone && t.waiting == nil {
				delete(h.tasks, id)
			}
			if t.last = u.id(); u.task != "" && h.out != nil {
				h.out.acknowledge(u.task, u.status.Update.ID)
			}
		}
	}
	close(d.moved)
	d.moved = make(chan struct{})
}

// report takes updates to the cluster until ctx ends: of a task one at a time, so that they
// arrive in their order, and of all tasks together.
func (d *Desk) report(ctx context.Context) {
	retry := backoff.New(50*time.Millisecond, 5*time.Second)
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.reports:
		}
		for sts := d.batch(); len(sts) > 0; sts = d.batch() {
			err := d.cfg.Reporter.Report(ctx, sts)
			if err == nil {
				d.taken(sts)
				retry.Reset()
				if !backoff.Pause(ctx, reportGap) {
					return
				}
				continue
			}
			if ctx.Err() != nil {
				return
			}
			if retry.First() {
				d.cfg.Log.Warn("the cluster was not told what executors said of their tasks; trying again", "updates", len(sts), "error", err)
			}
			if !retry.Wait(ctx) {
				return
			}
		}
	}
}

// Before is what executors that end by a report said before, to be reported first, in parts:
// their tasks end with them, and this would come too late.
func (d *Desk) Before(statuses []api.TaskStatus) (parts [][]api.TaskStatus) {
	d.mu.Lock()
	defer d.mu.Unlock()
	bytes := maxBytes + 1
	for i := range statuses {
		h := d.hosts[statuses[i].Task]
		if h == nil || !statuses[i].State.Final() || h.row.Attempt != statuses[i].Attempt {
			continue
		}
		for _, t := range h.tasks {
			for _, u := range t.waiting {
				if bytes += u.size(); bytes > maxBytes {
					parts, bytes = append(parts, nil), u.size()
				}
				last := len(parts) - 1
				parts[last] = append(parts[last], u.status)
			}
		}
	}
	return parts
}
