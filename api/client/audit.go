package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/mesita/mesita/api"
)

// AuditQuery says which records of the audit are wanted. The zero value wants the
// newest.
type AuditQuery struct {
	Since, User, Action, Object string // see api.AuditFilter; Since is a time or how long ago

	Refused bool
	Limit   int // 0 = the server's
}

// SilentNode is a node that is not in an answer of all nodes, and why.
type SilentNode struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// Audit lists what the nodes have recorded, oldest first, and which of them did
// not say.
func (c *Client) Audit(ctx context.Context, q AuditQuery) ([]*api.AuditRecord, []SilentNode, error) {
	v := url.Values{}
	for name, s := range map[string]string{"since": q.Since, "user": q.User, "action": q.Action, "object": q.Object} {
		if s != "" {
			v.Set(name, s)
		}
	}
	if q.Refused {
		v.Set("refused", "1")
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return ofNodes[*api.AuditRecord](ctx, c, "/v1/audit?"+v.Encode(), http.Header{})
}

// CheckAudit has each node, or the one of a name or id, look whether its audit is as
// it was written.
func (c *Client) CheckAudit(ctx context.Context, node string) ([]*api.AuditCheck, []SilentNode, error) {
	path := "/v1/audit/check"
	if node != "" {
		path += "?" + url.Values{"node": {node}}.Encode()
	}
	return ofNodes[*api.AuditCheck](ctx, c, path, http.Header{})
}

// Examine has each node, or the one of a name or id, look at what it needs.
func (c *Client) Examine(ctx context.Context, node string) ([]api.Check, []SilentNode, error) {
	path := "/v1/doctor"
	if node != "" {
		path += "?" + url.Values{"node": {node}}.Encode()
	}
	return ofNodes[api.Check](ctx, c, path, http.Header{})
}

func ofNodes[T any](ctx context.Context, c *Client, path string, header http.Header) ([]T, []SilentNode, error) {
	var a struct {
		Items   []T          `json:"items"`
		Missing []SilentNode `json:"missing"`
	}
	err := c.do(ctx, request{method: http.MethodGet, path: path, header: header}, &a)
	return a.Items, a.Missing, err
}
