package server

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/server/openapi"
)

// getOpenAPI describes the route table. It is asked for so rarely that it is
// made anew each time.
func getOpenAPI(c *call) (any, error) {
	var ops []openapi.Operation
	all := params()
	for _, r := range c.table {
		op := openapi.Operation{Method: r.Method, Path: strings.Replace(r.Path, "...}", "}", 1), Summary: r.Summary,
			Query: paramsOf(r, all), Header: headersOf(r), Body: r.Body}
		op.Reply = replyOf(r, exchange.Reply{Status: r.Status, Answer: r.Answer})
		for _, other := range r.Else {
			op.Else = append(op.Else, replyOf(r, other))
		}
		if r.Lists() {
			same := openapi.Reply{Status: http.StatusNotModified, About: "it is as the caller has it", Headers: listHeaders}
			op.Else = append(op.Else, same)
		}
		if op.Role = r.Action.Role(); r.Action == auth.BeNode {
			op.Role = api.RoleNode.String()
		}
		ops = append(ops, op)
	}
	return openapi.Describe("mesita", c.Version, ops, openapi.Common{
		Error: exchange.ErrorBody{}, About: "what is wrong, and what to do next",
		Answers: []openapi.Param{
			{Name: exchange.HeaderIndex, About: "the index of the state that it was made of, or at least of", Of: 0, Always: true},
			{Name: exchange.HeaderStale, About: "no leader confirmed that state", Words: words("1")},
		},
		Fails: []openapi.Param{
			{Name: "Retry-After", About: "when to try again, in seconds (429 and 503)", Of: 0},
			{Name: "WWW-Authenticate", About: "credentials are needed (401)"},
			{Name: "Allow", About: "the methods that are possible (405)"},
		},
	}), nil
}

var listHeaders = []openapi.Param{
	{Name: exchange.HeaderEvent, About: "of a list: the event to continue after, all that was before is in it", Of: 0},
	{Name: "ETag", About: "tells this list from another; a long one has none"},
}

func replyOf(r *exchange.Route, of exchange.Reply) openapi.Reply {
	out := openapi.Reply{Status: of.Status, Answer: of.Answer, About: of.About, Extra: r.Extra,
		Paged: r.Key != nil, Stream: r.Stream, Raw: r.Raw}
	text, isText := of.Answer.(exchange.Text)
	switch {
	case of.Answer == exchange.BlobBody:
		out.Type = exchange.BlobBody.(string)
	case isText:
		out.Type = cmp.Or(string(text), "text/plain")
	case r.Lists():
		out.Headers = listHeaders
	case r.Raw:
		out.Headers = []openapi.Param{{Name: headerMissing, About: "after the bytes of a log, as a trailer: how many are missing, or unknown"}}
	}
	return out
}

// getSchema describes the documents of files for editors. It is asked for so rarely that
// it is made anew each time.
func getSchema(*call) (any, error) {
	return openapi.Files("https://mesita.dev/schema/job.json", "a job or a partition of mesita", []openapi.Noun{
		{Name: "job", Of: api.JobSpec{}},
		{Name: "partition", Of: api.Partition{}, Kind: "partition"},
	}), nil
}
