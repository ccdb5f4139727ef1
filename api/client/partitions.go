package client

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/mesita/mesita/api"
)

// partitionPath is the address of a partition. Its slashes stay as they are.
func partitionPath(path string) (string, error) {
	return "/v1/partitions/" + path, api.ValidatePartition("path", path)
}

// Partitions lists all partitions by path, with what their tasks hold.
func (c *Client) Partitions(ctx context.Context) ([]*api.PartitionStatus, error) {
	return getList[*api.PartitionStatus](ctx, c, "/v1/partitions", nil)
}

// Partition finds a partition.
func (c *Client) Partition(ctx context.Context, path string) (*api.PartitionStatus, error) {
	at, err := partitionPath(path)
	if err != nil {
		return nil, err
	}
	p := new(api.PartitionStatus)
	return p, c.call(ctx, http.MethodGet, at, nil, p)
}

// PutPartition makes a partition or changes it to be as p says; with create it
// fails with CodeConflict if there is one. With the version of p set it fails
// so if somebody changed the partition since.
func (c *Client) PutPartition(ctx context.Context, p *api.Partition, create bool) (*api.PartitionChange, error) {
	return c.changePartition(ctx, http.MethodPut, p.Path, p, putQuery(p, create))
}

// PlanPartition says what PutPartition would do.
func (c *Client) PlanPartition(ctx context.Context, p *api.Partition, create bool) (*api.PartitionChange, error) {
	q := putQuery(p, create)
	q.Set("dry_run", "1")
	return c.changePartition(ctx, http.MethodPut, p.Path, p, q)
}

func putQuery(p *api.Partition, create bool) url.Values {
	q := flag("create", create)
	switch {
	case create:
	case p.Revision > 0:
		q.Set("if_revision", strconv.FormatUint(p.Revision, 10))
	case p.Version > 0:
		q.Set("if_version", strconv.Itoa(p.Version))
	}
	return q
}

// RemovePartition removes a partition. One with work in it is CodeConflict;
// with drain it takes no more, and goes when its work has ended.
func (c *Client) RemovePartition(ctx context.Context, path string, drain bool) (*api.PartitionChange, error) {
	return c.changePartition(ctx, http.MethodDelete, path, nil, flag("drain", drain))
}

// PlanRemovePartition says what RemovePartition would do.
func (c *Client) PlanRemovePartition(ctx context.Context, path string, drain bool) (*api.PartitionChange, error) {
	q := flag("drain", drain)
	q.Set("dry_run", "1")
	return c.changePartition(ctx, http.MethodDelete, path, nil, q)
}

func (c *Client) changePartition(ctx context.Context, method, path string, p *api.Partition, q url.Values) (*api.PartitionChange, error) {
	at, err := partitionPath(path)
	if err != nil {
		return nil, err
	}
	if len(q) > 0 {
		at += "?" + q.Encode()
	}
	var in any
	if p != nil {
		in = p
	}
	change := new(api.PartitionChange)
	return change, c.call(ctx, method, at, in, change)
}

// Incidents lists up to limit failures that were seen, open ones first and the
// newest first of each: with open only those, and about one task, job or node
// if about is not "".
func (c *Client) Incidents(ctx context.Context, open bool, about string, limit int) ([]*api.Incident, error) {
	q := flag("open", open)
	q.Set("limit", strconv.Itoa(limit))
	if about != "" {
		q.Set("for", about)
	}
	l, err := getPage[*api.Incident](ctx, c, "/v1/incidents", q)
	return l.Items, err
}

// Report sums up what work held, waited, lost and used since a time, or how long
// ago ("" is a week), by one of api.ReportWays: the rows with the most core hours
// first.
func (c *Client) Report(ctx context.Context, by, since string) ([]*api.ReportRow, error) {
	q := url.Values{"by": {by}}
	if since != "" {
		q.Set("since", since)
	}
	rows, err := getList[*api.ReportRow](ctx, c, "/v1/report", q)
	// Not by the server: what is held continues while pages are read, and a row would
	// rise over where the next page begins.
	slices.SortStableFunc(rows, func(a, b *api.ReportRow) int { return cmp.Compare(b.CoreHours, a.CoreHours) })
	return rows, err
}

// CloseIncidents closes incidents by hand: all of them, or none if one is not
// open.
func (c *Client) CloseIncidents(ctx context.Context, ids []uint64) error {
	return c.call(ctx, http.MethodPost, "/v1/incidents/close", api.IncidentClose{IDs: ids}, nil)
}
