package client

import (
	"context"
	"errors"
	"net/http"

	"github.com/mesita/mesita/api"
)

// ErrOneByOne says that the cluster changes one partition or job at a time: its level
// is below the one that changes several together, or the node that leads is older.
var ErrOneByOne = errors.New("this cluster changes one partition or job at a time")

// ApplyAll makes partitions and jobs be as the request says, all of it or nothing; with
// dry it only says what would be done. It fails with ErrOneByOne in a cluster that
// cannot.
func (c *Client) ApplyAll(ctx context.Context, r api.ApplyRequest, dry bool) (*api.ApplyAnswer, error) {
	path := "/v1/apply"
	if dry {
		path += "?dry_run=1"
	}
	out := new(api.ApplyAnswer)
	err := c.call(ctx, http.MethodPost, path, r, out)
	var e *api.Error
	if errors.As(err, &e) && (e.Field == api.FieldLevel || e.Code == api.CodeNotFound && e.Field == "") {
		return nil, ErrOneByOne
	}
	return out, err
}
