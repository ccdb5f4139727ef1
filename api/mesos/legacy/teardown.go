package legacy

import (
	"net/http"
	"net/url"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/admit"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/call"
	"github.com/mesita/mesita/api/mesos/reply"
	"github.com/mesita/mesita/api/mesos/rows"
	"github.com/mesita/mesita/fsm"
)

// teardown ends a framework that a form names.
func (l *legacy) teardown(c *exchange.Call) (any, error) {
	if c.R.Method != http.MethodPost {
		return nil, wrongMethod(c.R.Method, http.MethodPost)
	}
	form, err := url.ParseQuery(string(c.Body()))
	if err != nil {
		return nil, call.Bad("Unable to decode query string: " + err.Error())
	}
	id := form.Get("frameworkId")
	if id == "" {
		return nil, call.Bad("Missing 'frameworkId' query parameter in the request body")
	}
	c.Subject = exchange.Subject{Object: id}
	v := c.Store.View()
	f := v.Framework(id)
	if f == nil || !f.Ended.IsZero() || !rows.Of(v, c.ID).SeesFramework(f) {
		return nil, call.Bad("No framework found with specified ID")
	}
	if err := admit.MayEnd(v, c.ID, f); err != nil {
		return nil, err
	}
	if _, err := c.Do(&fsm.FrameworkRemove{Meta: c.Meta(), ID: id, Reason: "removed by " + c.ID.Actor}); err != nil {
		if api.ErrorCode(err) == api.CodeNotFound {
			return nil, call.Bad("No framework found with specified ID")
		}
		return nil, err
	}
	return reply.Done(c, http.StatusOK)
}

func wrongMethod(got, want string) error {
	return &call.Problem{Status: http.StatusMethodNotAllowed, Allow: want,
		Body: "405 Method Not Allowed. Expecting one of { '" + want + "' }, but received '" + got + "'."}
}
