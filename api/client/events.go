package client

import (
	"context"
	"net/url"
	"strconv"

	"github.com/mesita/mesita/api"
)

// EventQuery says which events are wanted; the zero value wants the newest.
type EventQuery struct {
	For    string // about this job, task or node, or by this user
	Since  string // a time as in RFC 3339, or how long ago, such as 2h; "" = any
	Until  string
	After  uint64 // only those with a higher index
	Before uint64 // only those with a lower index; 0 = any
	Limit  int    // how many at most: the newest; 0 = 100
	Brief  bool   // without what they are about
}

// briefEvent is all of an event but its payload, as far as nodes of any level know it.
const briefEvent = "index,time,kind,object,job,node,actor,message,task"

// eventPage is how many events one answer holds at most.
const eventPage = 4096

// FindEvents lists the newest events that are wanted, oldest first. They come
// from the node that answers, which may remember less than another.
func (c *Client) FindEvents(ctx context.Context, want EventQuery) ([]api.Event, error) {
	left := want.Limit
	if left == 0 {
		left = 100
	}
	var out []api.Event
	for left > 0 {
		n := min(left, eventPage)
		page, err := getPage[api.Event](ctx, c, "/v1/events", want.values(n))
		if err != nil {
			return nil, err
		}
		out = append(page.Items, out...)
		if len(page.Items) == 0 || len(page.Items) < n && page.Before == 0 || out[0].Index <= 1 {
			break
		}
		want.Before, left = out[0].Index, left-len(page.Items)
	}
	return out, nil
}

func (q *EventQuery) values(limit int) url.Values {
	v := url.Values{"limit": {strconv.Itoa(limit)}}
	for name, s := range map[string]string{"for": q.For, "since": q.Since, "until": q.Until} {
		if s != "" {
			v.Set(name, s)
		}
	}
	if q.Brief {
		v.Set("fields", briefEvent)
	}
	for name, n := range map[string]uint64{"after": q.After, "before": q.Before} {
		if n != 0 {
			v.Set(name, strconv.FormatUint(n, 10))
		}
	}
	return v
}

// RecentEvents lists up to limit of the newest events, about one job, task or
// node if about is not "".
func (c *Client) RecentEvents(ctx context.Context, about string, limit int) ([]api.Event, error) {
	return c.FindEvents(ctx, EventQuery{For: about, Limit: limit, Brief: true})
}
