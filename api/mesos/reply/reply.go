// Package reply answers calls of the Mesos v1 APIs in plain text: that a call
// was taken, or why not, in the words of Mesos.
//
// It owns how our errors look to programs that were written for Mesos. What is an error
// is for each of these APIs to say: api/mesos, api/mesos/operator and those beside them
// call it.
package reply

import (
	"net/http"
	"strconv"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
)

// The answers of who cannot serve now.
const (
	NoLeader     = "No leader elected"
	NotRecovered = "Master has not finished recovery"
)

// Realms that callers without credentials are asked to show some for.
const (
	Scheduler = "mesos-master-scheduler"
	Operator  = "mesos-master-readwrite"
)

// Unavailable refuses for now.
func Unavailable(why string) *call.Problem {
	return &call.Problem{Status: http.StatusServiceUnavailable, Body: why}
}

var plainText = []string{"text/plain; charset=utf-8"}

// Fails writes an error for callers of a realm.
func Fails(realm string) func(*exchange.Call, error) {
	return func(c *exchange.Call, err error) {
		if c.Answered {
			panic(http.ErrAbortHandler)
		}
		p, ok := err.(*call.Problem)
		if !ok {
			p = translated(c, realm, exchange.AsError(err), err)
		}
		if p.Allow != "" {
			c.W.Header().Set("Allow", p.Allow)
		}
		Say(c, p.Status, p.Body)
	}
}

func translated(c *exchange.Call, realm string, e *api.Error, err error) *call.Problem {
	p := &call.Problem{Status: e.Code.HTTPStatus(), Body: e.Error()}
	switch {
	case e.Code == api.CodeNotAllowed && !c.ID.Known() && e.Field != auth.FieldOrigin:
		p.Status = http.StatusUnauthorized
		c.W.Header().Set("WWW-Authenticate", `Basic realm="`+realm+`"`)
	case e.Code == api.CodeUnavailable, e.Code == api.CodeUnknown:
		return Unavailable(NoLeader)
	case e.Code == api.CodeBusy:
		c.W.Header().Set("Retry-After", strconv.Itoa(int(max(1, e.Retry.Seconds()))))
	case e.Code == api.CodeInternal:
		c.Log.Error("request failed", "path", c.R.URL.Path, "err", err)
	}
	return p
}

// Say answers with a status and a line of text, or none.
func Say(c *exchange.Call, status int, body string) {
	c.W.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if body == "" {
		c.Head(status, nil)
		return
	}
	c.Head(status, plainText)
	if c.R.Method != http.MethodHead {
		_, _ = c.W.Write([]byte(body)) // the caller is gone if this fails
	}
}

// Done answers a call that has no answer but that it was taken.
func Done(c *exchange.Call, status int) (any, error) {
	Say(c, status, "")
	return exchange.Done{}, nil
}
