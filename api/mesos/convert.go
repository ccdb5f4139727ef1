package mesos

import (
	"encoding/json"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/mesos/reserve"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/fsm"
)

// This file has the operations of an ACCEPT that reserve room.

// converts reports whether an operation starts nothing.
func (op *operation) converts() bool {
	return op.kind != v1.OfferOperationTypeLaunch && op.kind != v1.OfferOperationTypeLaunchGroup
}

// steps are what an operation changes of what is reserved, or why it is not done.
func (l *launcher) steps(op operation) (steps []fsm.ReservationStep, err error) {
	missing := wrong("Operation of type %s does not have what it is to do", op.kind)
	switch op.kind {
	case v1.OfferOperationTypeReserve:
		if op.Reserve == nil {
			return nil, missing
		}
		if len(op.Reserve.Source) > 0 {
			return nil, wrong("'source' of RESERVE is not supported: unreserve first, and reserve in the same call")
		}
		steps, err = reserve.Steps(fsm.StepReserve, op.Reserve.Resources)
	case v1.OfferOperationTypeUnreserve:
		if op.Unreserve == nil {
			return nil, missing
		}
		steps, err = reserve.Steps(fsm.StepUnreserve, op.Unreserve.Resources)
	case v1.OfferOperationTypeCreate:
		if op.Create == nil {
			return nil, missing
		}
		steps, err = reserve.Steps(fsm.StepCreate, op.Create.Volumes)
	case v1.OfferOperationTypeDestroy:
		if op.Destroy == nil {
			return nil, missing
		}
		steps, err = reserve.Steps(fsm.StepDestroy, op.Destroy.Volumes)
	case v1.OfferOperationTypeGrowVolume, v1.OfferOperationTypeShrinkVolume:
		return nil, wrong("A volume stays as large as it was made: %s is not supported", op.kind)
	default:
		return nil, wrong("This version of mesita does not have operations of type %s", op.kind)
	}
	if err != nil {
		return nil, err
	}
	if op.kind == v1.OfferOperationTypeCreate || op.kind == v1.OfferOperationTypeDestroy {
		err = l.knowsVolumes()
	}
	if err == nil {
		err = l.allowed()
	}
	if err != nil {
		return nil, err
	}
	for i := range steps {
		if err := l.mayConvert(&steps[i]); err != nil {
			return nil, err
		}
		n, err := sizeOf(&steps[i])
		if err != nil {
			return nil, err
		}
		if l.bytes += n; l.full() {
			return nil, tooMuch
		}
	}
	return steps, nil
}

// sizeOf is what a step adds to the command, and to what is told of it.
func sizeOf(s *fsm.ReservationStep) (int, error) {
	b, err := json.Marshal(s)
	return leastOne + len(b), err
}

// mayConvert refuses what is of another role, or in another's name.
func (l *launcher) mayConvert(s *fsm.ReservationStep) error {
	if s.Partition != l.offer.Partition {
		return wrong("A reserve operation was attempted for role '%s', but the offer is to role '%s'", s.Partition, role(l.offer.Partition))
	}
	if mine := l.framework.Principal; s.Kind == fsm.StepReserve && s.Principal != mine {
		return wrong("A reserve operation was attempted by principal '%s', but the reservation has the principal '%s'", mine, s.Principal)
	} else if s.Kind == fsm.StepCreate && s.Volume.Principal != mine {
		return wrong("A create volume operation was attempted by principal '%s', but the volume has the principal '%s'", mine, s.Volume.Principal)
	}
	return nil
}

// knowsVolumes refuses what not all voters know.
func (l *launcher) knowsVolumes() error {
	if l.view.Does(fsm.Volumes) {
		return nil
	}
	return wrong("The cluster's level does not have persistent volumes yet: `mesita cluster show` says what it waits for")
}

func (l *launcher) knowVolumes(volumes []api.VolumeMount) error {
	if len(volumes) == 0 {
		return nil
	}
	return l.knowsVolumes()
}

// tellOperation tells of an operation that is done, or why it is not, if it has an id to
// tell of.
func (h *hub) tellOperation(s *session, op operation, o *api.Offer, why string) {
	if op.ID == nil || !op.converts() {
		return
	}
	st := &v1.OperationStatus{OperationID: op.ID, State: v1.OperationStateFinished}
	if o != nil {
		st.AgentID = &v1.AgentID{Value: o.NodeID}
	}
	if why != "" {
		st.State, st.Message = v1.OperationStateError, new(cut(why))
	}
	e := event(v1.SchedulerEventTypeUpdateOperationStatus)
	e.UpdateOperationStatus = &v1.SchedulerEventUpdateOperationStatus{Status: st}
	s.push(e)
}

// reconcileOperations says of each operation that it is not known any more: it was done, or
// not, by the time that its call was answered.
func (s *session) reconcileOperations(of []*v1.SchedulerCallReconcileOperationsOperation) {
	for _, o := range of {
		e := event(v1.SchedulerEventTypeUpdateOperationStatus)
		e.UpdateOperationStatus = &v1.SchedulerEventUpdateOperationStatus{Status: &v1.OperationStatus{OperationID: o.OperationID, AgentID: o.AgentID,
			State: v1.OperationStateUnknown, Message: new("Reconciliation: no operation is remembered once it is done")}}
		s.push(e)
	}
}

// maxWhy bounds a message about what is not done: names in it may be long.
const maxWhy = 1000

func cut(s string) string {
	if len(s) <= maxWhy {
		return s
	}
	return strings.ToValidUTF8(s[:maxWhy], "") + "…"
}
