package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/mesita/mesita/api"
)

// HoldJob has nothing more of a job start until it is released. Dry says what it
// would be then, and does nothing.
func (c *Client) HoldJob(ctx context.Context, id string, dry bool) (*api.Job, error) {
	return c.changeJob(ctx, id, "hold", dry)
}

// ReleaseJob ends a HoldJob.
func (c *Client) ReleaseJob(ctx context.Context, id string, dry bool) (*api.Job, error) {
	return c.changeJob(ctx, id, "release", dry)
}

// RequeueJob ends what runs of a job, and has it wait again.
func (c *Client) RequeueJob(ctx context.Context, id string, dry bool) (*api.Job, error) {
	return c.changeJob(ctx, id, "requeue", dry)
}

func (c *Client) changeJob(ctx context.Context, id, verb string, dry bool) (*api.Job, error) {
	j := new(api.Job)
	return j, c.call(ctx, http.MethodPost, jobPath(id, verb, dry), struct{}{}, j)
}

func jobPath(id, verb string, dry bool) string {
	path := "/v1/jobs/" + url.PathEscape(id) + "/" + verb
	if dry {
		path += "?dry_run=1"
	}
	return path
}

// SetJob has a job that waits ask for something else.
func (c *Client) SetJob(ctx context.Context, id string, change api.JobChange) (*api.Job, error) {
	j := new(api.Job)
	return j, c.call(ctx, http.MethodPost, jobPath(id, "set", false), change, j)
}

// PlanSetJob says what SetJob would do.
func (c *Client) PlanSetJob(ctx context.Context, id string, change api.JobChange) (*api.Plan, error) {
	p := new(api.Plan)
	return p, c.call(ctx, http.MethodPost, jobPath(id, "set", true), change, p)
}
