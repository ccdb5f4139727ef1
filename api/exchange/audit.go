package exchange

import (
	"cmp"
	"net/http"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
)

// Auditor is told what was done and refused.
type Auditor interface {
	// Note is told how what the request was about was before and after it; nil = it
	// was not there, or is not known. Neither is changed any more.
	Note(r api.AuditRecord, before, after any)
}

// Subject is what a request is about, as far as its route's handler knows.
type Subject struct {
	Object, Partition string
	Before, After     any    // of a value that does not change any more
	Asked             string // what else is to be recorded of the request; no secrets
	Action            string // what was done, if its route is for more than one thing
	// Each is what it did by parts: if there are some and it was done, each is a
	// record instead of the whole.
	Each []Subject
}

// Recorded reports whether what is done by the route is recorded: all but plain
// reads, and what nodes do all the time. Refusals are on every route.
func (r *Route) Recorded() bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return r.Action == auth.ReadLogs || r.Action == auth.Fetch
	}
	return !r.Routine
}

// begun records what may last as it begins.
func (c *Call) begun() {
	if c.Status < http.StatusBadRequest && c.Route.Lasting() {
		c.note(nil)
	}
}

// note records the request, once, unless the leader has: whoever decides records.
func (c *Call) note(err error) {
	if c.Audit == nil || c.Route == nil || c.noted || c.decided {
		return
	}
	r := api.AuditRecord{Outcome: api.AuditDone}
	switch {
	case err != nil:
		e := AsError(err)
		r.Code, r.Reason = e.Code, e.Message
	case c.Status >= http.StatusBadRequest: // by another node, which was asked by the handler
		r.Code = codeOf(c.Status)
	}
	switch {
	case r.Code == api.CodeNotAllowed || r.Code == api.CodeBusy:
		r.Outcome = api.AuditRefused
	case !c.Route.Recorded() || c.Route.Changes != nil && !c.Route.Changes(c) || c.Query.Flag("dry_run") || c.ID.Role == api.RoleNode && c.Route.Nodes:
		return
	case r.Code != "":
		r.Outcome = api.AuditFailed
	}
	c.noted = true
	s := c.Subject
	if s.Object == "" {
		s.Object = c.Args[0]
	}
	r.Actor, r.Token, r.From, r.Via = c.ID.Actor, c.ID.Token, c.ID.From(c.R), c.ID.Via
	r.Action, r.Route = cmp.Or(s.Action, c.Route.Action.String()), c.Route.Method+" "+c.Route.Path
	r.Object, r.Partition, r.Reason = s.Object, s.Partition, r.Reason[:min(len(r.Reason), maxReason)]
	if r.Request = c.R.Header.Get("Idempotency-Key"); r.Request == "" || len(r.Request) > maxKey {
		r.Request = newKey()
	}
	switch {
	case r.Outcome != api.AuditDone:
		c.Audit.Note(r, nil, nil)
	case len(s.Each) == 0:
		r.Asked = s.Asked
		c.Audit.Note(r, s.Before, s.After)
	default:
		for _, part := range s.Each {
			r.Object, r.Partition, r.Asked = part.Object, part.Partition, part.Asked
			c.Audit.Note(r, part.Before, part.After)
		}
	}
}

// maxReason bounds the words of a refusal, in bytes.
const maxReason = 256

func codeOf(status int) api.Code {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return api.CodeNotAllowed
	case http.StatusTooManyRequests:
		return api.CodeBusy
	}
	return api.CodeFailed
}
