package operator

import (
	"net/http"
	"strconv"

	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

// answer is a Response that is being written: it may be of all that a large cluster has,
// and is sent while it is made.
type answer struct {
	*wire.Writer
	call *v1.MasterCall
	rows *rows.Rows
	kind string // of the response, as its field is called
}

// answer sends what a call asks for.
func (s *Server) answer(c *exchange.Call, r *request, fill func(*Server, *answer) error) (any, error) {
	last := false
	send := func(b []byte) error {
		if !c.Answered {
			if last {
				c.W.Header().Set("Content-Length", strconv.Itoa(len(b)))
			}
			c.Head(http.StatusOK, []string{r.accept.MediaType()})
		}
		return c.WritePart(b)
	}
	a := &answer{Writer: wire.NewWriter(r.accept, &v1.MasterResponse{}, send), call: &r.call, rows: rows.Of(c.Store.View(), c.ID), kind: fieldOf(r.kind)}
	if err := a.Put(responses[r.kind], "type"); err != nil {
		return nil, err
	}
	if err := fill(s, a); err != nil {
		return nil, err
	}
	last = true
	return exchange.Done{}, a.Close()
}

// put writes the one message that the response is.
func (a *answer) put(m any) error { return a.Put(m, a.kind) }
