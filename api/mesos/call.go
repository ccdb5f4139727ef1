package mesos

import (
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// request is a call that was read.
type request struct {
	call   v1.SchedulerCall
	kind   v1.SchedulerCallType
	accept wire.Format // of the answer
	either bool        // accept is one that the caller takes
	stream string      // Mesos-Stream-Id
	err    error       // why it is none
}

// subscribes reports whether a call may last.
func subscribes(c *exchange.Call) bool {
	r := readOnce(c)
	return r.err == nil && r.kind == v1.SchedulerCallTypeSubscribe
}

func readOnce(c *exchange.Call) *request {
	return exchange.Once(c, func(r *request) { r.err = r.read(c) })
}

func (r *request) read(c *exchange.Call) error {
	if err := call.Read(c.R, c.Body(), call.MaxBody, c.Charged, &r.call); err != nil {
		return err
	}
	if why := invalid(&r.call); why != "" {
		return bad("Failed to validate scheduler::Call: " + why)
	}
	r.kind, r.stream = *r.call.Type, call.Last(c.R.Header, exchange.HeaderStreamID)
	r.accept, r.either = call.Accepted(c.R.Header)
	return nil
}

// invalid says why a call is none, "" if it is one.
func invalid(m *v1.SchedulerCall) string {
	if m.Type == nil {
		return "Expecting 'type' to be present"
	}
	id := frameworkID(m.FrameworkID)
	if *m.Type == v1.SchedulerCallTypeSubscribe {
		switch {
		case m.Subscribe == nil:
			return "Expecting 'subscribe' to be present"
		case frameworkID(m.Subscribe.FrameworkInfo.ID) != id:
			return "'framework_id' differs from 'subscribe.framework_info.id'"
		}
		return ""
	}
	if m.FrameworkID == nil {
		return "Expecting 'framework_id' to be present"
	}
	for _, need := range []struct {
		of   v1.SchedulerCallType
		name string
		has  bool
	}{
		{v1.SchedulerCallTypeAccept, "accept", m.Accept != nil},
		{v1.SchedulerCallTypeDecline, "decline", m.Decline != nil},
		{v1.SchedulerCallTypeAcceptInverseOffers, "accept_inverse_offers", m.AcceptInverseOffers != nil},
		{v1.SchedulerCallTypeDeclineInverseOffers, "decline_inverse_offers", m.DeclineInverseOffers != nil},
		{v1.SchedulerCallTypeKill, "kill", m.Kill != nil},
		{v1.SchedulerCallTypeShutdown, "shutdown", m.Shutdown != nil},
		{v1.SchedulerCallTypeAcknowledge, "acknowledge", m.Acknowledge != nil},
		{v1.SchedulerCallTypeAcknowledgeOperationStatus, "acknowledge_operation_status", m.AcknowledgeOperationStatus != nil},
		{v1.SchedulerCallTypeReconcile, "reconcile", m.Reconcile != nil},
		{v1.SchedulerCallTypeReconcileOperations, "reconcile_operations", m.ReconcileOperations != nil},
		{v1.SchedulerCallTypeMessage, "message", m.Message != nil},
		{v1.SchedulerCallTypeRequest, "request", m.Request != nil},
		{v1.SchedulerCallTypeUpdateFramework, "update_framework", m.UpdateFramework != nil},
	} {
		if *m.Type == need.of && !need.has {
			return "Expecting '" + need.name + "' to be present"
		}
	}
	switch {
	case *m.Type == v1.SchedulerCallTypeAcknowledge && len(m.Acknowledge.UUID) != 16,
		*m.Type == v1.SchedulerCallTypeAcknowledgeOperationStatus && len(m.AcknowledgeOperationStatus.UUID) != 16:
		return "Not a valid UUID"
	case *m.Type == v1.SchedulerCallTypeUpdateFramework && frameworkID(m.UpdateFramework.FrameworkInfo.ID) != id:
		return "'framework_id' differs from 'update_framework.framework_info.id'"
	}
	return ""
}

func frameworkID(id *v1.FrameworkID) string {
	if id == nil {
		return ""
	}
	return id.Value
}
