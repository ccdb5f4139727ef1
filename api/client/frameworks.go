package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/mesita/mesita/api"
)

// Frameworks lists the frameworks, with all also those that were removed and are
// remembered.
func (c *Client) Frameworks(ctx context.Context, all bool) ([]*api.FrameworkStatus, error) {
	return getList[*api.FrameworkStatus](ctx, c, "/v1/frameworks", flag("all", all))
}

// Framework finds a framework by its id.
func (c *Client) Framework(ctx context.Context, id string) (*api.FrameworkStatus, error) {
	f := new(api.FrameworkStatus)
	return f, c.call(ctx, http.MethodGet, "/v1/frameworks/"+url.PathEscape(id), nil, f)
}

// RemoveFramework ends a framework for good, with all that it runs.
func (c *Client) RemoveFramework(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/frameworks/"+url.PathEscape(id), nil, nil)
}

// Offers lists what is on offer, to one framework if its id is not "".
func (c *Client) Offers(ctx context.Context, framework string) ([]*api.OfferStatus, error) {
	q := url.Values{}
	if framework != "" {
		q.Set("framework", framework)
	}
	return getList[*api.OfferStatus](ctx, c, "/v1/offers", q)
}

// RescindOffer takes an offer back.
func (c *Client) RescindOffer(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/offers/"+url.PathEscape(id), nil, nil)
}
