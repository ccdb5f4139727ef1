package operator

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	"github.com/mesita/mesita/api/mesos/reply"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
	"github.com/mesita/mesita/fsm"
)

// This file has reservations, quota and weights as tools set them that know Mesos from
// before its v1 API.

// maxForm bounds the body of a form, in bytes.
const maxForm = 64 << 10

// forms are the routes of those: slaveId=ID and a list in JSON, of resources or volumes.
func (s *Server) forms() (table []*exchange.Route) {
	for path, of := range map[string]struct {
		kind    fsm.StepKind
		field   string
		summary string
	}{
		"/reserve":         {fsm.StepReserve, "resources", "reserve room of a node for roles"},
		"/unreserve":       {fsm.StepUnreserve, "resources", "unreserve room of a node for roles"},
		"/create-volumes":  {fsm.StepCreate, "volumes", "create persistent volumes of what is reserved"},
		"/destroy-volumes": {fsm.StepDestroy, "volumes", "destroy persistent volumes that no task uses"},
	} {
		for _, before := range []string{"", "/master"} {
			table = append(table, &exchange.Route{Method: http.MethodPost, Any: true, Path: before + path, Action: auth.ManageNodes, Scope: auth.OfAny, Basic: true, Body: exchange.RawBody, Most: maxForm,
				Fails: reply.Fails(reply.Operator), Answer: exchange.Text(""), Handle: func(c *exchange.Call) (any, error) { return s.form(c, of.kind, of.field) },
				Summary: of.summary + ", slaveId=ID&" + of.field + "=LIST as a form, as a master of Mesos does"})
		}
	}
	for _, o := range []struct {
		method, path, field string // in whose place of a call the body is
		set                 func(c *exchange.Call, said []byte) error
		summary             string
	}{
		{http.MethodPost, "/quota", "quota_request", s.oldQuota, "guarantee a role some room, and no more, a QuotaRequest in JSON"},
		{http.MethodDelete, "/quota/{partition...}", "", s.noQuota, "take back what a role is guaranteed, and its limit"},
		{http.MethodPut, "/weights", "weight_infos", s.oldWeights, "set weights of roles, a list of role and weight in JSON"},
	} {
		handle := func(c *exchange.Call) (any, error) {
			said, err := wrapped(c, o.field)
			if err == nil {
				err = o.set(c, said)
			}
			if err != nil {
				return nil, err
			}
			return reply.Done(c, http.StatusOK)
		}
		for _, before := range []string{"", "/master"} {
			table = append(table, &exchange.Route{Method: o.method, Path: before + o.path, Action: auth.ManagePartitions, Scope: auth.OfAny, Basic: true, Body: exchange.RawBody, Most: maxForm,
				Fails: reply.Fails(reply.Operator), Answer: exchange.Text(""), Handle: handle, Summary: o.summary + ", as a master of Mesos does"})
		}
	}
	return table
}

// wrapped is the body of a request as the field of a call that it is now.
func wrapped(c *exchange.Call, field string) ([]byte, error) {
	if err := knownTo(c.Store.View()); err != nil || field == "" {
		return nil, err
	}
	if !json.Valid(c.Body()) {
		return nil, call.Bad("Failed to parse the request body: it is not JSON")
	}
	return json.Marshal(map[string]json.RawMessage{field: c.Body()})
}

func unreadable(err error) error {
	return call.Bad("Failed to convert the request body: " + err.Error())
}

func (s *Server) oldQuota(c *exchange.Call, said []byte) error {
	m := &v1.MasterCallSetQuota{}
	if err := wire.Unmarshal(wire.JSON, said, m); err != nil {
		return unreadable(err)
	}
	return s.setQuota(c, &v1.MasterCall{SetQuota: m})
}

func (s *Server) oldWeights(c *exchange.Call, said []byte) error {
	m := &v1.MasterCallUpdateWeights{}
	if err := wire.Unmarshal(wire.JSON, said, m); err != nil {
		return unreadable(err)
	}
	return s.updateWeights(c, &v1.MasterCall{UpdateWeights: m})
}

func (s *Server) noQuota(c *exchange.Call, _ []byte) error {
	return s.removeQuota(c, &v1.MasterCall{RemoveQuota: &v1.MasterCallRemoveQuota{Role: c.Args[0]}})
}

func (s *Server) form(c *exchange.Call, kind fsm.StepKind, list string) (any, error) {
	if c.R.Method != http.MethodPost {
		return nil, &call.Problem{Status: http.StatusMethodNotAllowed, Allow: http.MethodPost,
			Body: "405 Method Not Allowed. Expecting one of { 'POST' }, but received '" + c.R.Method + "'."}
	}
	if err := knownTo(c.Store.View()); err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(c.Body()))
	if err != nil {
		return nil, call.Bad("Unable to decode query string: " + err.Error())
	}
	for _, field := range []string{"slaveId", list} {
		if form.Get(field) == "" {
			return nil, call.Bad("Missing '" + field + "' query parameter in the request body")
		}
	}
	c.Subject = exchange.Subject{Object: form.Get("slaveId")}
	if !json.Valid([]byte(form.Get(list))) {
		return nil, call.Bad("Error in parsing '" + list + "' query parameter in the request body: it is not JSON")
	}
	var m v1.MasterCallReserveResources
	said, err := json.Marshal(map[string]json.RawMessage{"agent_id": json.RawMessage(`{"value":""}`), "resources": json.RawMessage(form.Get(list))})
	if err == nil {
		err = wire.Unmarshal(wire.JSON, said, &m)
	}
	if err != nil {
		return nil, call.Bad("Error in parsing '" + list + "' query parameter in the request body: " + err.Error())
	}
	if err := s.convert(c, kind, &v1.AgentID{Value: form.Get("slaveId")}, m.Resources); err != nil {
		return nil, err
	}
	return reply.Done(c, http.StatusAccepted)
}
