package node

import (
	"context"
	"net/http"

	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/reply"
)

// Prefix begins the paths of an agent where those of a master are, too.
const Prefix = "/slave(1)"

// realm is the one that callers without credentials are asked to show some for.
const realm = "mesos-agent-readwrite"

func (s *Server) routes() (table []*exchange.Route) {
	fails := reply.Fails(realm)
	for _, prefix := range []string{"", Prefix} {
		table = append(table, &exchange.Route{Method: http.MethodPost, Any: true, Path: prefix + "/api/v1", Action: auth.Look, Scope: auth.OfAny, Basic: true, Local: true, Stream: true, Lasts: lasts,
			Changes: recorded, Body: exchange.BlobBody, Fails: fails, Handle: s.serve, Answer: exchange.Text(""), Summary: "the operator API of a Mesos v1 agent"})
		for _, r := range s.legacy() {
			r.Method, r.Path, r.Scope, r.Basic, r.Local, r.Fails, r.Answer = http.MethodGet, prefix+r.Path, auth.OfAny, true, true, fails, exchange.Text("")
			if r.Action == 0 {
				r.Action = auth.Look
			}
			table = append(table, r)
		}
	}
	return table
}

type executorKey struct{}

// OfExecutor is a request of who showed the token of the executor in a container, which its
// listener has checked. It may do with that container what it likes, and nothing else.
func OfExecutor(r *http.Request, partition, container string) *http.Request {
	id := auth.Identity{Actor: "executor:" + container, Rights: "viewer@" + partition}
	return auth.WithCaller(r.WithContext(context.WithValue(r.Context(), executorKey{}, container)), id)
}

// executorOf is the container whose executor calls.
func executorOf(c *exchange.Call) (container string, is bool) {
	container, is = c.R.Context().Value(executorKey{}).(string)
	return container, is
}
