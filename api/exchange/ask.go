package exchange

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

const maxAnswer = 64 << 20 // of another node, decoded whole

// Ask sends a request of the server's own to the leader, in the name of the
// caller, and waits for one as relayed requests do.
func (c *Call) Ask(method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(c.R.Context(), c.Patience.Write)
	defer cancel()
	tick := time.NewTicker(leaderCheck)
	defer tick.Stop()
	for {
		if leader := c.Cluster.LeaderID(); leader != "" {
			h := http.Header{}
			c.ID.PassOn(h, c.R.Header)
			again, err := c.AskNode(ctx, leader, method, path, h, body, out)
			if !again {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return c.noLeader()
		case <-tick.C:
		}
	}
}

// AskNode sends one request and decodes its answer into out. It says whether
// to try again because nothing was answered.
func (s *Server) AskNode(ctx context.Context, nodeID, method, path string, h http.Header, body []byte, out any) (again bool, err error) {
	addr, rt, err := s.Cluster.Peer(nodeID)
	if err != nil {
		return true, err
	}
	path, query, _ := strings.Cut(path, "?")
	req := (&http.Request{Method: method, URL: &url.URL{Scheme: "https", Host: addr, Path: path, RawQuery: query}, Host: addr, Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}).WithContext(ctx)
	if len(body) == 0 {
		req.Body = http.NoBody
	}
	res, err := rt.RoundTrip(req)
	if err != nil {
		return true, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return true, err
	}
	if res.Header.Get(headerNotLeader) != "" {
		return true, nil
	}
	if res.StatusCode >= 300 {
		var e ErrorBody
		if json.Unmarshal(b, &e) != nil || e.Error == nil {
			return false, api.Errorf(api.CodeUnavailable, "node %s answered %s", nodeID, res.Status)
		}
		return false, e.Error
	}
	if out == nil {
		return false, nil
	}
	return false, api.DecodeLenient(b, out)
}
