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
	v1.MasterCallTypeGetHealth:     {read: (*Server).health},
	v1.MasterCallTypeGetVersion:    {read: (*Server).version},
	v1.MasterCallTypeGetState:      {read: (*Server).state},
	v1.MasterCallTypeGetAgents:     {read: (*Server).agents},
	v1.MasterCallTypeGetFrameworks: {read: (*Server).frameworks},
	v1.MasterCallTypeGetTasks:      {read: (*Server).tasks},
	v1.MasterCallTypeGetExecutors:  {read: (*Server).executors},
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
	r, _ := c.Read.(*request)
	if r == nil {
		r = &request{}
		r.err = r.read(c)
		c.Read = r
	}
	return r
}

func (r *request) read(c *exchange.Call) error {
	if err := call.Read(c.R, c.Body(), c.Charged, &r.call); err != nil {
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

// serve answers one call. The order of its checks is that of Mesos.
func (s *Server) serve(c *exchange.Call) (any, error) {
	if _, _, leads := s.Master(); !leads {
		return nil, reply.Unavailable(reply.NotRecovered)
	}
	r := readOnce(c)
	if r.err != nil {
		return nil, r.err
	}
	if !c.Store.View().Does(fsm.Frameworks) {
		return nil, reply.Unavailable("The cluster's level does not have the APIs of Mesos yet: `mesita cluster show` says what it waits for")
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
	return nil, &call.Problem{Status: http.StatusNotImplemented, Body: "mesita does not have the call " + r.kind.String()}
}
