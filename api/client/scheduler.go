package client

import (
	"bytes"
	"context"
	"io"
	"net/http"
)

// The header that says which subscription a call is of, and the form of calls and answers.
const (
	headerStream = "Mesos-Stream-Id"
	protobuf     = "application/x-protobuf"
)

// Scheduler sends a call of the scheduler API of Mesos v1 in its protobuf form: SUBSCRIBE
// with stream "", all others with the id of their subscription. The caller closes the body
// of the answer, which to SUBSCRIBE are events as records. A call that may have been acted
// on is not sent again: the error has CodeUnknown or CodeUnavailable then.
func (c *Client) Scheduler(ctx context.Context, stream string, call []byte) (*http.Response, error) {
	r := request{method: http.MethodPost, path: "/api/v1/scheduler", once: stream != "", text: true, header: http.Header{"Content-Type": {protobuf}, "Accept": {protobuf}},
		body: func() (io.Reader, int64) { return bytes.NewReader(call), int64(len(call)) }}
	if stream != "" {
		r.header[headerStream] = []string{stream}
	}
	return c.try(ctx, r)
}

// StreamID is the id of the subscription that an answer to SUBSCRIBE begins.
func StreamID(res *http.Response) string { return res.Header.Get(headerStream) }
