package agent

import (
	"time"

	"github.com/mesita/mesita/api"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// What is taken of what an executor kept. It sends the rest again when it subscribes next.
const (
	maxKept    = 5000            // updates; each is answered by an event, and these have to fit
	maxUnknown = 1000            // tasks that it has and is not to have, which it is told to kill
	strayGrace = 3 * time.Second // of those
)

// subscribe begins a subscription. An earlier one of the executor ends.
func (d *Desk) subscribe(h *host, sub *v1.ExecutorCallSubscribe, format wire.Format) (*stream, error) {
	kept := keep(sub.UnacknowledgedUpdates)
	updates := make([]update, 0, len(kept))
	ends := map[string]bool{}
	for _, s := range kept {
		u, err := d.updateOf(h, s)
		if err != nil {
			return nil, err
		}
		updates = append(updates, u)
		ends[u.task] = ends[u.task] || u.status.State.Final()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h.leave()
	h.out, h.subscribed = newStream(d, h, format, &d.queued), true
	h.out.Push(d.subscribed(h), nil)
	if h.ending || stops(h.row) {
		h.ending = true
		h.out.shutdown()
	}
	h.read(&d.notes)
	d.takeKept(h, updates, ends)
	d.reconcile(h, sub.UnacknowledgedTasks)
	d.serve(h, d.fresh, d.cfg.Now())
	poke(d.wake) // there are times that run from now on
	return h.out, nil
}

// keep chooses what is taken of what an executor kept: of each task the oldest, and how it
// ended.
func keep(all []*v1.ExecutorCallUpdate) (out []*v1.TaskStatus) {
	of, ends := map[string]int{}, map[string]bool{}
	for _, u := range all {
		s := u.Status
		id := s.TaskID.Value
		last := stateOf[s.State].Final() && !ends[id] && len(ends) < maxKept
		if !last && (len(out) >= maxKept || of[id] >= maxWaiting) {
			continue
		}
		of[id]++
		ends[id] = ends[id] || last
		out = append(out, s)
	}
	return out
}

// takeKept takes in what an executor kept; the caller holds the lock. What came before the
// last of a task that the cluster took came before, too, and it remembers that one alone.
func (d *Desk) takeKept(h *host, updates []update, ends map[string]bool) {
	known := map[string]int{}
	for i := range updates {
		if t := h.task(updates[i].task); t != nil && t.last != "" && t.last == updates[i].id() {
			known[updates[i].task] = i
		}
	}
	for i, u := range updates {
		t := h.task(u.task)
		switch last, any := known[u.task]; {
		case any && i <= last:
			h.out.acknowledge(u.task, u.status.Update.ID)
		case t == nil || t.over || t.gone || d.room(h, t, &u):
			d.takeUpdate(h, u, ends[u.task])
		}
	}
}

// reconcile compares what an executor has with what it was handed. What it says nothing of
// may never have reached it, or it may run: it is handed out no second time.
func (d *Desk) reconcile(h *host, has []*v1.TaskInfo) {
	listed := make(map[string]bool, len(has))
	for _, m := range has {
		listed[m.TaskID.Value] = true
	}
	for _, t := range h.tasks {
		t.told = false // it is told again, if it is to end
		switch {
		case listed[t.row.Framework.ID]:
			t.handed, h.handed = true, true
		case !t.over && !t.spoke && (t.handed || h.noted[t.row.ID]):
			d.end(h, t, api.TaskDropped, api.ReasonNeverDelivered, v1.TaskStatusReasonAgentRestarted, "Task launched during agent restart")
		}
	}
	strays := 0
	for id := range listed {
		if t := h.task(id); (t == nil || t.over || t.gone) && strays < maxUnknown {
			strays++
			d.killStray(h, id)
		}
	}
}

// killStray has an executor kill a task that it may have and is not to have, as the cluster
// was told that it never got it, or gave it up. Who is not sure of what the cluster has
// kills nothing.
func (d *Desk) killStray(h *host, task string) {
	if h.out != nil && d.fresh {
		h.out.kill(task, strayGrace)
	}
}
