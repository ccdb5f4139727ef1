package mesos

import (
	"context"
	"net/http"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	"github.com/mesita/mesita/api/mesos/reply"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// scheduler answers one call of a framework. The order of its checks is that of Mesos.
func (s *Server) scheduler(c *exchange.Call) (any, error) {
	h := s.hub.Load()
	if h == nil {
		return nil, reply.Unavailable(reply.NotRecovered)
	}
	r := readOnce(c)
	if r.err != nil {
		return nil, r.err
	}
	if !h.Store.View().Does(fsm.Frameworks) {
		return nil, &problem{Status: http.StatusServiceUnavailable, Body: "The cluster's level does not have frameworks yet: `mesita cluster show` says what it waits for"}
	}
	if r.kind == v1.SchedulerCallTypeSubscribe {
		s.calls.add(&r.call)
		return s.subscribe(c, h, r)
	}
	if r.kind == v1.SchedulerCallTypeReconcileOperations && !r.either {
		return nil, call.NotAcceptable()
	}
	se, err := h.caller(c, r)
	if err != nil {
		return nil, err
	}
	s.calls.add(&r.call)
	return h.act(c, se, r)
}

// caller is the session of who calls.
func (h *hub) caller(c *exchange.Call, r *request) (*session, error) {
	id := r.call.FrameworkID.Value
	f := h.Store.View().Framework(id)
	se := h.of(id)
	switch {
	case f == nil || !f.Ended.IsZero():
		return nil, bad("Framework cannot be found")
	case c.ID.Principal() != f.Principal && !admit.Root(c.ID):
		return nil, bad("Authenticated principal '" + c.ID.Principal() + "' does not match principal '" + f.Principal + "' set in `FrameworkInfo`")
	case se == nil || !f.Connected:
		return nil, &problem{Status: http.StatusForbidden, Body: "Framework is not subscribed"}
	case r.stream == "":
		return nil, bad("All non-subscribe calls should include the 'Mesos-Stream-Id' header")
	case r.stream != se.id:
		return nil, bad("The stream ID '" + r.stream + "' included in this request didn't match the stream ID currently associated with framework ID " + id)
	}
	return se, nil
}

// act does what a framework that is subscribed calls for.
func (h *hub) act(c *exchange.Call, s *session, r *request) (any, error) {
	ctx, m := c.R.Context(), &r.call
	var err error
	switch r.kind {
	case v1.SchedulerCallTypeTeardown:
		if err := h.mayEnd(c.ID, s.framework); err != nil {
			return nil, err
		}
		err = h.teardown(ctx, c.ID.Actor, s)
	case v1.SchedulerCallTypeAccept:
		err = h.accept(ctx, c.ID, s, m.Accept)
	case v1.SchedulerCallTypeDecline:
		err = h.decline(ctx, c.ID, s, m.Decline)
	case v1.SchedulerCallTypeRevive:
		var roles []string
		if m.Revive != nil {
			roles = m.Revive.Roles
		}
		if in, ok := h.partitions(s, roles); ok {
			h.desk.Revive(s.framework, in)
		}
	case v1.SchedulerCallTypeSuppress:
		var roles []string
		if m.Suppress != nil {
			roles = m.Suppress.Roles
		}
		if in, ok := h.partitions(s, roles); ok {
			h.desk.Suppress(s.framework, in)
		}
	case v1.SchedulerCallTypeKill:
		err = h.kill(ctx, c.ID, s, m.Kill)
	case v1.SchedulerCallTypeAcknowledge:
		h.acknowledge(s, m.Acknowledge)
	case v1.SchedulerCallTypeReconcile:
		h.reconcile(s, m.Reconcile.Tasks)
	case v1.SchedulerCallTypeReconcileOperations:
		s.reconcileOperations(m.ReconcileOperations.Operations)
	case v1.SchedulerCallTypeUpdateFramework:
		return h.update(ctx, c, s, m.UpdateFramework)
	case v1.SchedulerCallTypeMessage:
		h.message(ctx, s, m.Message)
	case v1.SchedulerCallTypeRequest:
		h.request(c.ID, s, m.Request.Requests)
	case v1.SchedulerCallTypeShutdown:
		err = h.shutdown(ctx, c.ID, s, m.Shutdown)
	case v1.SchedulerCallTypeAcceptInverseOffers,
		v1.SchedulerCallTypeDeclineInverseOffers, v1.SchedulerCallTypeAcknowledgeOperationStatus:
		// There is no maintenance to hear of, and what is told of an operation is told once.
	default:
		return nil, &problem{Status: http.StatusNotImplemented}
	}
	if api.ErrorCode(err) == api.CodeConflict { // it is connected anew, or was removed meanwhile
		return nil, &problem{Status: http.StatusForbidden, Body: "Framework is not subscribed"}
	}
	if err != nil {
		return nil, err
	}
	return reply.Done(c, http.StatusAccepted)
}

// mayEnd refuses who may not deploy wherever a framework is or has something that runs.
func (h *hub) mayEnd(id auth.Identity, framework string) error {
	v := h.Store.View()
	var paths []string
	if f := v.Framework(framework); f != nil {
		paths = f.Partitions
	}
	for _, j := range v.FrameworkJobs(framework) {
		if j.Counts.Live() > 0 {
			paths = append(slices.Clip(paths), j.Spec.Partition)
		}
	}
	for _, p := range paths {
		if err := auth.May(id, auth.Deploy, admit.Object(v, p, "")); err != nil {
			return err
		}
	}
	return nil
}

// partitions are those of roles that a framework is in, all of its own if it names none;
// not if one of them is not its.
func (h *hub) partitions(s *session, roles []string) ([]string, bool) {
	f := h.Store.View().Framework(s.framework)
	if f == nil {
		return nil, false
	}
	if len(roles) == 0 {
		return f.Partitions, true
	}
	in, err := suppressed(f, roles)
	return in, err == nil
}

// update changes what a framework said of itself.
func (h *hub) update(ctx context.Context, c *exchange.Call, s *session, u *v1.SchedulerCallUpdateFramework) (any, error) {
	v := h.Store.View()
	old := v.Framework(s.framework)
	f, err := frameworkOf(v, c.ID, u.FrameworkInfo)
	if err != nil {
		return nil, bad(err.Error())
	}
	switch {
	case old == nil:
		return nil, bad("Framework cannot be found")
	case f.User != old.User:
		return nil, bad("Updating 'FrameworkInfo.user' is unsupported: it is '" + old.User + "'")
	case !sameCheckpoint(old, u.FrameworkInfo):
		return nil, bad("Updating 'FrameworkInfo.checkpoint' is unsupported")
	case f.Principal != old.Principal:
		return nil, bad("Changing framework's principal is not allowed.")
	}
	off, err := suppressed(f, u.SuppressedRoles)
	if err == nil {
		err = keepInfo(f, old, u.FrameworkInfo)
	}
	var accepts func(string, *api.Node) bool
	if err == nil {
		accepts, err = wanted(f, u.OfferConstraints, capabilitiesOf(u.FrameworkInfo))
	}
	if err != nil {
		return nil, bad(err.Error())
	}
	f.Session = s.id
	lock := h.entry(f.ID)
	lock.Lock()
	defer lock.Unlock()
	if h.of(f.ID) != s {
		return nil, &problem{Status: http.StatusForbidden, Body: "Framework is not subscribed"}
	}
	if _, err := h.Store.Do(ctx, &fsm.FrameworkPut{Meta: fsm.Meta{At: h.Now(), Actor: c.ID.Actor}, Framework: f}); err != nil {
		if api.ErrorCode(err) == api.CodeConflict {
			return nil, &problem{Status: http.StatusConflict, Body: exchange.AsError(err).Message}
		}
		return nil, err
	}
	h.mu.Lock()
	s.know(capabilitiesOf(u.FrameworkInfo))
	h.mu.Unlock()
	h.desk.Connect(f.ID, s.id, off, accepts)
	return reply.Done(c, http.StatusOK)
}

// sameCheckpoint reports whether a framework says of its checkpoints what it did before.
func sameCheckpoint(old *api.Framework, info *v1.FrameworkInfo) bool {
	var before v1.FrameworkInfo
	err := wire.Unmarshal(wire.Protobuf, old.Info, &before)
	return err != nil || before.GetCheckpoint() == info.GetCheckpoint()
}

// maxRequests bounds what one REQUEST is heard of.
const maxRequests = 100

// request notes what a framework waits for. What says nothing that can be had is left out:
// a REQUEST has no answer.
func (h *hub) request(id auth.Identity, s *session, requests []*v1.Request) {
	v := h.Store.View()
	f := v.Framework(s.framework)
	if f == nil || len(f.Partitions) == 0 {
		return
	}
	var wants []api.OfferRequest
	for _, r := range requests[:min(len(requests), maxRequests)] {
		in := role(f.Partitions[0])
		for _, x := range r.Resources {
			if x.AllocationInfo != nil && x.AllocationInfo.Role != nil {
				in = *x.AllocationInfo.Role
			}
		}
		q, of, err := toRequest(r.Resources, in)
		if err != nil || len(of.reserved) > 0 || !f.In(partition(in)) || auth.May(id, auth.Deploy, admit.Object(v, partition(in), "")) != nil {
			continue
		}
		spec := &api.JobSpec{TaskSpec: api.TaskSpec{Placing: api.Placing{Request: q}}}
		w := api.OfferRequest{Partition: partition(in), Need: spec.Need()}
		if r.AgentID != nil {
			w.NodeID = r.AgentID.Value
		}
		wants = append(wants, w)
	}
	h.desk.Request(s.framework, wants)
}
