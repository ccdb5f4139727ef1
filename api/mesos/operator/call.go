package operator

import (
	"net/http"
	"strings"

	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	"github.com/mesita/mesita/api/mesos/reply"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// request is a call that was read.
type request struct {
	call   v1.MasterCall
	kind   v1.MasterCallType
	accept wire.Format // of the answer
	err    error       // why it is none
}

// does is what is done of a call.
type does struct {
	has     func(m *v1.MasterCall) bool // what its type needs; nil: nothing
	read    func(s *Server, a *answer) error
	change  func(s *Server, c *exchange.Call, m *v1.MasterCall) error
	answers int // the status of a change that was made; 0 = 200
}

// calls are those that have an answer here; SUBSCRIBE is apart, as it lasts.
var calls = map[v1.MasterCallType]does{
	v1.MasterCallTypeGetHealth:              {read: (*Server).health},
	v1.MasterCallTypeGetFlags:               {read: (*Server).flags},
	v1.MasterCallTypeGetVersion:             {read: (*Server).version},
	v1.MasterCallTypeGetMetrics:             {read: (*Server).metrics},
	v1.MasterCallTypeGetLoggingLevel:        {read: (*Server).loggingLevel},
	v1.MasterCallTypeGetState:               {read: (*Server).state},
	v1.MasterCallTypeGetAgents:              {read: (*Server).agents},
	v1.MasterCallTypeGetFrameworks:          {read: (*Server).frameworks},
	v1.MasterCallTypeGetExecutors:           {read: (*Server).executors},
	v1.MasterCallTypeGetOperations:          {read: (*Server).operations},
	v1.MasterCallTypeGetTasks:               {read: (*Server).tasks},
	v1.MasterCallTypeGetRoles:               {read: (*Server).roles},
	v1.MasterCallTypeGetWeights:             {read: (*Server).weights},
	v1.MasterCallTypeGetMaster:              {read: (*Server).master},
	v1.MasterCallTypeGetQuota:               {read: (*Server).quota},
	v1.MasterCallTypeGetMaintenanceStatus:   {read: (*Server).maintenanceStatus},
	v1.MasterCallTypeGetMaintenanceSchedule: {read: (*Server).maintenanceSchedule},
	v1.MasterCallTypeUpdateWeights:          {has: func(m *v1.MasterCall) bool { return m.UpdateWeights != nil }, change: (*Server).updateWeights},
	v1.MasterCallTypeUpdateQuota:            {has: func(m *v1.MasterCall) bool { return m.UpdateQuota != nil }, change: (*Server).updateQuota},
	v1.MasterCallTypeSetQuota:               {has: func(m *v1.MasterCall) bool { return m.SetQuota != nil }, change: (*Server).setQuota},
	v1.MasterCallTypeRemoveQuota:            {has: func(m *v1.MasterCall) bool { return m.RemoveQuota != nil }, change: (*Server).removeQuota},
	v1.MasterCallTypeTeardown:               {has: func(m *v1.MasterCall) bool { return m.Teardown != nil }, change: (*Server).teardown},
	v1.MasterCallTypeDrainAgent:             {has: func(m *v1.MasterCall) bool { return m.DrainAgent != nil }, change: (*Server).drain},
	v1.MasterCallTypeDeactivateAgent:        {has: func(m *v1.MasterCall) bool { return m.DeactivateAgent != nil }, change: (*Server).deactivate},
	v1.MasterCallTypeReactivateAgent:        {has: func(m *v1.MasterCall) bool { return m.ReactivateAgent != nil }, change: (*Server).reactivate},
	v1.MasterCallTypeMarkAgentGone:          {has: func(m *v1.MasterCall) bool { return m.MarkAgentGone != nil }, change: (*Server).gone},
	v1.MasterCallTypeStartMaintenance:       {has: func(m *v1.MasterCall) bool { return m.StartMaintenance != nil }, change: (*Server).startMaintenance},
	v1.MasterCallTypeReserveResources:       {has: func(m *v1.MasterCall) bool { return m.ReserveResources != nil }, change: (*Server).reserveResources, answers: http.StatusAccepted},
	v1.MasterCallTypeUnreserveResources:     {has: func(m *v1.MasterCall) bool { return m.UnreserveResources != nil }, change: (*Server).unreserveResources, answers: http.StatusAccepted},
	v1.MasterCallTypeCreateVolumes:          {has: func(m *v1.MasterCall) bool { return m.CreateVolumes != nil }, change: (*Server).createVolumes, answers: http.StatusAccepted},
	v1.MasterCallTypeDestroyVolumes:         {has: func(m *v1.MasterCall) bool { return m.DestroyVolumes != nil }, change: (*Server).destroyVolumes, answers: http.StatusAccepted},
	v1.MasterCallTypeStopMaintenance:        {has: func(m *v1.MasterCall) bool { return m.StopMaintenance != nil }, change: (*Server).stopMaintenance},
}

// subscribes reports whether a call may last.
func subscribes(c *exchange.Call) bool {
	r := readOnce(c)
	return r.err == nil && r.kind == v1.MasterCallTypeSubscribe
}

// changes reports whether a call is to be recorded.
func changes(c *exchange.Call) bool {
	r := readOnce(c)
	return r.err == nil && calls[r.kind].change != nil
}

func readOnce(c *exchange.Call) *request {
	return exchange.Once(c, func(r *request) { r.err = r.read(c) })
}

func (r *request) read(c *exchange.Call) error {
	if err := call.Read(c.R, c.Body(), exchange.MaxBody, c.Charged, &r.call); err != nil {
		return err
	}
	if r.call.Type == nil {
		return call.Bad("Failed to validate master::Call: Expecting 'type' to be present")
	}
	r.kind = *r.call.Type
	if has := calls[r.kind].has; has != nil && !has(&r.call) {
		return call.Bad("Failed to validate master::Call: Expecting '" + strings.ToLower(r.kind.String()) + "' to be present")
	}
	var either bool
	if r.accept, either = call.Accepted(c.R.Header); !either {
		return call.NotAcceptable()
	}
	return nil
}

// knownTo refuses what not all voters know.
func knownTo(v *fsm.View) error {
	if v.Does(fsm.Frameworks) {
		return nil
	}
	return reply.Unavailable("The cluster's level does not have the APIs of Mesos yet: `mesita cluster show` says what it waits for")
}

// serve answers one call. The order of its checks is that of Mesos.
func (s *Server) serve(c *exchange.Call) (any, error) {
	if _, _, leads := s.Master(); !leads {
		return nil, reply.Unavailable(reply.NotRecovered)
	}
	r := readOnce(c)
	if r.err != nil {
		return nil, r.err
	}
	if err := knownTo(c.Store.View()); err != nil {
		return nil, err
	}
	if r.kind == v1.MasterCallTypeSubscribe {
		return s.subscribe(c, r)
	}
	switch do := calls[r.kind]; {
	case do.read != nil:
		return s.answer(c, r, do.read)
	case do.change != nil:
		if err := do.change(s, c, &r.call); err != nil {
			return nil, err
		}
		return reply.Done(c, max(do.answers, http.StatusOK))
	}
	why := "mesita does not have the call " + r.kind.String()
	if instead := missing[r.kind]; instead != "" {
		why += ": " + instead
	}
	return nil, &call.Problem{Status: http.StatusNotImplemented, Body: why}
}

// missing says of calls that have no counterpart what there is instead.
var missing = map[v1.MasterCallType]string{
	v1.MasterCallTypeSetLoggingLevel:           "the log of a node has one level",
	v1.MasterCallTypeUpdateMaintenanceSchedule: "it keeps no schedule, and drains nodes once START_MAINTENANCE or DRAIN_AGENT says so",
	v1.MasterCallTypeGrowVolume:                "a volume stays as large as it was made",
	v1.MasterCallTypeShrinkVolume:              "a volume stays as large as it was made",
	v1.MasterCallTypeListFiles:                 "files of tasks are asked of the agent where they are",
	v1.MasterCallTypeReadFile:                  "files of tasks are asked of the agent where they are",
}
