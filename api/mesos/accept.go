package mesos

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// maxOffers bounds the offers of one call.
const maxOffers = 10_000

// maxRefusal bounds how long a framework may refuse a node.
const maxRefusal = 365 * 24 * time.Hour

// refusal is for how long what was not taken is not offered again.
func refusal(f *v1.Filters) time.Duration {
	s := f.GetRefuseSeconds()
	if !(s >= 0) {
		s = (*v1.Filters)(nil).GetRefuseSeconds()
	}
	return time.Duration(min(s, maxRefusal.Seconds()) * float64(time.Second))
}

// operation is one of an ACCEPT, with what it starts.
type operation struct {
	*v1.OfferOperation
	kind  v1.OfferOperationType
	tasks []*v1.TaskInfo
}

func operationsOf(a *v1.SchedulerCallAccept) (out []operation) {
	for _, m := range a.Operations {
		op := operation{OfferOperation: m, kind: v1.Get(m.Type)}
		switch {
		case op.kind == v1.OfferOperationTypeLaunch && m.Launch != nil:
			op.tasks = m.Launch.TaskInfos
		case op.kind == v1.OfferOperationTypeLaunchGroup && m.LaunchGroup != nil:
			op.tasks = m.LaunchGroup.TaskGroup.Tasks
		}
		out = append(out, op)
	}
	return out
}

// accept takes offers and starts tasks in their room, all by one command.
func (h *hub) accept(ctx context.Context, id auth.Identity, s *session, a *v1.SchedulerCallAccept) error {
	v := h.Store.View()
	f := v.Framework(s.framework)
	ids := valuesOf(a.OfferIDs)
	if len(ids) > maxOffers {
		return bad("Too many offers: an ACCEPT takes those of one agent, and at most " + strconv.Itoa(maxOffers))
	}
	offers := h.own(v, s, ids)
	ops := operationsOf(a)
	cmd := &fsm.FrameworkAccept{Meta: fsm.Meta{At: h.Now(), Actor: id.Actor}, Framework: s.framework, Session: s.id, Offers: ids}
	l := newLauncher(v, id, f, nil)
	var started, refused []*v1.TaskInfo
	var conversions, wrongs []operation
	var why, wrongWhy []error
	if f != nil && len(offers) > 0 {
		l.offer = offers[0]
		if err := wire.Unmarshal(wire.Protobuf, f.Info, l.info); err != nil {
			return api.Errorf(api.CodeInternal, "what framework %s said of itself cannot be read: %v", f.ID, err)
		}
		for i, op := range ops {
			if op.converts() {
				steps, err := l.steps(op)
				if err == nil && len(cmd.Conversions) >= api.MaxConversions {
					err = wrong("ACCEPT changes what is reserved %d times at most: do the rest in another one", api.MaxConversions)
				}
				if err != nil {
					wrongs, wrongWhy = append(wrongs, op), append(wrongWhy, err)
					continue
				}
				cmd.Conversions, conversions = append(cmd.Conversions, fsm.Conversion{Before: len(cmd.Tasks), Steps: steps}), append(conversions, op)
				continue
			}
			launches, errs := l.operation("group "+strconv.Itoa(i), op)
			for i, t := range op.tasks {
				if errs[i] != nil {
					refused, why = append(refused, t), append(why, errs[i])
					continue
				}
				cmd.Tasks, started = append(cmd.Tasks, l.launched(launches[i])), append(started, t)
			}
		}
	}
	h.answers(s, ids)
	takeBack := h.refuse(s, offers, refusal(a.Filters), len(cmd.Tasks)+len(cmd.Conversions) == 0)
	out, err := h.Store.Do(ctx, cmd)
	if err != nil {
		h.unanswered(s, ids)
		return err
	}
	done := out.(*fsm.Accepted)
	if done.Invalid != "" || l.offer == nil {
		h.tellInvalid(s, ops, done.Invalid)
	} else {
		for i, op := range wrongs { // not before the others are done: what it says of is as it is then
			h.tellOperation(s, op, l.offer, wrongWhy[i].Error())
		}
		for i, t := range refused {
			h.tellRefused(s, t, why[i])
		}
		for i, t := range started {
			if done.Refused[i] == "" {
				continue
			}
			var err error = taskError(done.Refused[i])
			switch {
			case done.Ending[i]:
				err = ending{err}
			case cmd.Tasks[i].Task.Group != "":
				err = groupError{err}
			}
			h.tellRefused(s, t, err)
		}
		for i, op := range conversions {
			h.tellOperation(s, op, l.offer, done.Converted[i])
		}
	}
	h.refuseRest(s, offers, cmd, done, refusal(a.Filters), takeBack)
	return nil
}

// invalidPause is how long what could not be taken as it was is not offered again.
const invalidPause = time.Second

// operation is what the tasks of an operation are here, or why each is not.
func (l *launcher) operation(label string, op operation) (out []*fsm.FrameworkLaunch, errs []error) {
	out, errs = make([]*fsm.FrameworkLaunch, len(op.tasks)), make([]error, len(op.tasks))
	var all error // why none of them is
	switch {
	case op.ID != nil:
		all = wrong("Operation 'id' is not supported for LAUNCH and LAUNCH_GROUP operations")
	case op.kind == v1.OfferOperationTypeLaunchGroup && op.LaunchGroup != nil:
		var group []*fsm.FrameworkLaunch
		group, all = l.group(label, op.LaunchGroup)
		copy(out, group)
	}
	for i, t := range op.tasks {
		if errs[i] = all; all == nil && out[i] == nil {
			out[i], errs[i] = l.task(t)
		}
	}
	return out, errs
}

// groupError is why a group of tasks is not started.
type groupError struct{ error }

func (e groupError) Unwrap() error { return e.error }

// ending is why a task is not started whose executor is about to end.
type ending struct{ error }

// tellRefused tells a framework why a task is not started.
func (h *hub) tellRefused(s *session, t *v1.TaskInfo, err error) {
	state, reason := v1.TaskStateError, v1.TaskStatusReasonTaskInvalid
	switch {
	case errors.As(err, &ending{}):
		state, reason = s.caps().stateFor(v1.TaskStateDropped), v1.TaskStatusReasonExecutorTerminated
	case errors.As(err, &groupError{}):
		reason = v1.TaskStatusReasonTaskGroupInvalid
		if errors.As(err, &unauthorized{}) {
			reason = v1.TaskStatusReasonTaskGroupUnauthorized
		}
	case errors.As(err, &unauthorized{}):
		reason = v1.TaskStatusReasonTaskUnauthorized
	}
	st := h.ofMaster(t.TaskID.Value, t.AgentID.Value, state, reason, exchange.AsError(err).Message)
	if t.Executor != nil {
		st.ExecutorID = t.Executor.ExecutorID
	}
	s.push(updateEvent(st))
}

// tellInvalid tells a framework of each task that none of it is started, as the offers
// cannot be taken.
func (h *hub) tellInvalid(s *session, ops []operation, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := h.Store.View()
	for _, op := range ops {
		for _, t := range op.tasks {
			// The call may have been passed on twice, as a link broke: what it started the first
			// time is not lost.
			if runs := v.FrameworkTask(s.framework, t.TaskID.Value); runs != nil && !runs.State.Final() && runs.NodeID == t.AgentID.Value {
				h.tellLatest(v, s, runs)
				continue
			}
			s.push(updateEvent(h.ofMaster(t.TaskID.Value, t.AgentID.Value, s.caps().stateFor(v1.TaskStateDropped),
				v1.TaskStatusReasonInvalidOffers, "Task launched with invalid offers: "+why)))
		}
	}
	for _, op := range ops {
		if len(op.tasks) == 0 {
			h.tellOperation(s, op, nil, "Operation attempted with invalid offers: "+why)
		}
	}
}

// refuse keeps all of some offers from being offered again, until that is taken back. It is
// called before they are gone, as their room may be on offer again a moment later.
func (h *hub) refuse(s *session, offers []*api.Offer, d time.Duration, declined bool) (takeBack func()) {
	var all []func()
	for at, room := range rooms(offers) {
		all = append(all, h.desk.Refuse(s.framework, at.partition, at.node, room.plain, room.reserved, d, declined))
	}
	return func() {
		for _, one := range all {
			one()
		}
	}
}

// place is where offers are.
type place struct{ partition, node string }

// offered is what is on offer at a place.
type offered struct{ plain, reserved api.Resources }

// rooms are what offers have together, by where they are.
func rooms(offers []*api.Offer) map[place]offered {
	out := make(map[place]offered, 1)
	for _, o := range offers {
		at := place{o.Partition, o.NodeID}
		out[at] = offered{out[at].plain.Add(o.Resources), out[at].reserved.Add(api.ReservedSum(o.Reserved))}
	}
	return out
}

// refuseRest keeps what was not taken of the offers from being offered again, and no more
// than that: not what is reserved only now, or no longer, which was not offered as that.
func (h *hub) refuseRest(s *session, offers []*api.Offer, c *fsm.FrameworkAccept, done *fsm.Accepted, d time.Duration, takeBack func()) {
	switch {
	case done.Invalid != "":
		takeBack()
		h.refuse(s, offers, invalidPause, true)
		return
	case len(offers) == 0 || len(c.Tasks)+len(c.Conversions) == 0:
		return
	}
	var now offered
	for i, conversion := range c.Conversions {
		for _, step := range conversion.Steps {
			switch {
			case done.Converted[i] != "":
			case step.Kind == fsm.StepReserve:
				now.reserved = now.reserved.Add(step.Resources)
			default:
				now.plain = now.plain.Add(step.Resources)
			}
		}
	}
	if d > 0 { // else nothing was refused to begin with, and what was meanwhile stands
		declined := !slices.Contains(done.Refused, "") && !slices.Contains(done.Converted, "")
		h.desk.Refuse(s.framework, offers[0].Partition, offers[0].NodeID, without(done.Left, now.plain), without(done.LeftReserved, now.reserved), d, declined)
	}
	takeBack()
}

// without is as much of something as there would be without a part of it, at least nothing.
func without(r, part api.Resources) api.Resources {
	amounts := r.Least(part)
	return r.Minus(amounts).Minus(part.Minus(part.Least(part))) // numbers and names are not amounts
}

// decline gives offers back.
func (h *hub) decline(ctx context.Context, id auth.Identity, s *session, d *v1.SchedulerCallDecline) error {
	offers := h.own(h.Store.View(), s, valuesOf(d.OfferIDs))
	if len(offers) == 0 {
		return nil
	}
	ids := make([]string, len(offers))
	for i, o := range offers {
		ids[i] = o.ID
	}
	h.refuse(s, offers, refusal(d.Filters), true)
	h.answers(s, ids)
	if _, err := h.Store.Do(ctx, &fsm.OfferRemove{Meta: fsm.Meta{At: h.Now(), Actor: id.Actor}, IDs: ids, Reason: "declined"}); err != nil {
		h.unanswered(s, ids)
		return err
	}
	return nil
}

// own are those of the offers of those ids that are there and the framework's.
func (h *hub) own(v *fsm.View, s *session, ids []string) (out []*api.Offer) {
	seen := map[string]bool{}
	for _, id := range ids {
		if o := v.Offer(id); o != nil && o.Framework == s.framework && !seen[id] {
			out = append(out, o)
		}
		seen[id] = true
	}
	return out
}

func valuesOf(ids []*v1.OfferID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.Value
	}
	return out
}
