package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
)

const (
	// MaxEvent is how many bytes an event has at most; of one with more the stream ends.
	MaxEvent     = 4 << 20
	reconnect    = 100 * time.Millisecond
	maxReconnect = 2 * time.Second
)

// errBroken is a stream that ended in the middle.
var errBroken = errors.New("the stream ended")

// Events calls f with each event that is wanted after an index, in order, until ctx ends, which
// is not an error, or f fails. It reconnects without gap or double; it fails with
// CodeConflict when events after index are no longer kept, and with
// CodeUnavailable when no node answers for as long as the patience is.
// Of want it heeds For, After and Brief.
func (c *Client) Events(ctx context.Context, want EventQuery, f func(api.Event) error) error {
	for retry := backoff.New(reconnect, maxReconnect); ; {
		seen := want.After
		err := c.eventsOnce(ctx, &want, f)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, errBroken) {
			return err
		}
		if want.After != seen {
			retry.Reset()
		}
		if !retry.Wait(ctx) {
			return nil
		}
	}
}

// EventsFromNow is Events for who can do without some: where the events after an index
// are no longer kept, or may not be told, it continues after the newest one, and calls
// lost then.
func (c *Client) EventsFromNow(ctx context.Context, want EventQuery, lost func() error, f func(api.Event) error) error {
	for retry := backoff.New(reconnect, maxReconnect); ; {
		err := c.Events(ctx, want, func(e api.Event) error {
			want.After = e.Index
			retry.Reset()
			return f(e)
		})
		if api.ErrorCode(err) != api.CodeConflict {
			return err
		}
		newest, failed := c.LastEvent(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if failed != nil {
			return failed
		}
		if newest <= want.After {
			return err
		}
		want.After = newest
		if err := lost(); err != nil {
			return err
		}
		if !retry.Wait(ctx) {
			return nil
		}
	}
}

const headerEvent = "X-Mesita-Event"

// LastEvent is the index after which Events has all that happens from now on.
func (c *Client) LastEvent(ctx context.Context) (uint64, error) {
	h, err := c.head(ctx, "/v1/nodes?limit=1")
	if err != nil {
		return 0, err
	}
	if s := h.Get(headerEvent); s != "" {
		return strconv.ParseUint(s, 10, 64)
	}
	recent, err := c.RecentEvents(ctx, "", 1) // of a server that does not say
	if err != nil || len(recent) == 0 {
		return 0, err
	}
	return recent[len(recent)-1].Index, nil
}

// Clock is the time of the node that answers, to the second: by it is reckoned what the
// cluster dates, whatever the clock of this machine says.
func (c *Client) Clock(ctx context.Context) (time.Time, error) {
	h, err := c.head(ctx, "/v1/nodes?limit=1")
	if err != nil {
		return time.Time{}, err
	}
	return http.ParseTime(h.Get("Date"))
}

// head reads an answer, and keeps its head alone.
func (c *Client) head(ctx context.Context, path string) (http.Header, error) {
	r := request{method: http.MethodGet, path: path, header: http.Header{}}
	res, err := c.try(ctx, r)
	if err != nil {
		return nil, err
	}
	return res.Header, r.read(res, nil)
}

func (c *Client) eventsOnce(ctx context.Context, want *EventQuery, f func(api.Event) error) error {
	q := url.Values{"after": {strconv.FormatUint(want.After, 10)}}
	if want.For != "" {
		q.Set("for", want.For)
	}
	if want.Brief {
		q.Set("fields", briefEvent)
	}
	res, err := c.try(ctx, request{method: http.MethodGet, path: "/v1/events?" + q.Encode(), header: http.Header{"Accept": {"text/event-stream"}}})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, MaxEvent)
	var kind, data []byte
	for lines.Scan() {
		line := lines.Bytes()
		switch {
		case len(line) > 0:
			if v, ok := bytes.CutPrefix(line, []byte("event: ")); ok {
				kind = append(kind[:0], v...)
			} else if v, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
				data = append(data[:0], v...)
			}
			continue
		case len(data) == 0: // a sign of life
			continue
		case string(kind) == "error":
			return streamError(data)
		}
		var e api.Event
		if err := api.DecodeLenient(data, &e); err != nil {
			return api.Errorf(api.CodeFailed, "an event cannot be read: %v", err)
		}
		data = data[:0]
		if err := f(e); err != nil {
			return err
		}
		want.After = e.Index
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return api.Errorf(api.CodeFailed, "an event is longer than %s", api.Bytes(MaxEvent))
	}
	return errBroken
}

// streamError is what a server said when it ended a stream.
func streamError(data []byte) error {
	var e struct {
		Error *api.Error `json:"error"`
	}
	if json.Unmarshal(data, &e) != nil || e.Error == nil || again(e.Error) {
		return errBroken
	}
	return e.Error
}
