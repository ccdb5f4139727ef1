package server

import (
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server/openapi"
)

// getOpenAPI describes the route table. It is asked for so rarely that it is
// made anew each time.
func getOpenAPI(c *call) (any, error) {
	var ops []openapi.Operation
	for _, r := range c.table {
		op := openapi.Operation{Method: r.method, Path: r.path, Summary: r.summary, Query: r.query, Body: r.body, Answer: r.answer, Stream: r.stream}
		if t, ok := r.answer.(text); ok {
			op.Answer = string(t)
		}
		if r.role > api.RoleNone {
			op.Role = r.role.String()
		}
		ops = append(ops, op)
	}
	return openapi.Describe("mesita", c.Version, ops, api.Error{}), nil
}
