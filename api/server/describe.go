package server

import (
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/server/exchange"
	"github.com/mesita/mesita/api/server/openapi"
)

// getOpenAPI describes the route table. It is asked for so rarely that it is
// made anew each time.
func getOpenAPI(c *call) (any, error) {
	var ops []openapi.Operation
	for _, r := range c.table {
		op := openapi.Operation{Method: r.Method, Path: strings.Replace(r.Path, "...}", "}", 1), Summary: r.Summary, Query: r.Params(), About: exchange.PageHelp, Body: r.Body, Answer: r.Answer, Stream: r.Stream, Raw: r.Raw}
		if t, ok := r.Answer.(exchange.Text); ok {
			op.Answer = string(t)
		}
		if op.Role = r.Action.Role(); r.Action == auth.BeNode {
			op.Role = api.RoleNode.String()
		}
		ops = append(ops, op)
	}
	return openapi.Describe("mesita", c.Version, ops, api.Error{}), nil
}

// getSchema describes the documents of files for editors. It is asked for so rarely that
// it is made anew each time.
func getSchema(*call) (any, error) {
	return openapi.Files("https://mesita.dev/schema/job.json", "a job or a partition of mesita", []openapi.Noun{
		{Name: "job", Of: api.JobSpec{}},
		{Name: "partition", Of: api.Partition{}, Kind: "partition"},
	}), nil
}
