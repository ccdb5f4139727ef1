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
	maxEvent     = 4 << 20 // bytes of one event
	reconnect    = 100 * time.Millisecond
	maxReconnect = 2 * time.Second
)

// errBroken is a stream that ended in the middle.
var errBroken = errors.New("the stream ended")

// Events calls f with each event after index, in order, until ctx ends, which
// is no error, or f fails. It reconnects without gap or double; it fails with
// CodeConflict when events after index are no longer kept, and with
// CodeUnavailable when no node answers for as long as the patience is.
func (c *Client) Events(ctx context.Context, after uint64, about string, f func(api.Event) error) error {
	for retry := backoff.New(reconnect, maxReconnect); ; {
		seen := after
		err := c.eventsOnce(ctx, &after, about, f)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, errBroken) {
			return err
		}
		if after != seen {
			retry.Reset()
		}
		if !retry.Wait(ctx) {
			return nil
		}
	}
}

func (c *Client) eventsOnce(ctx context.Context, after *uint64, about string, f func(api.Event) error) error {
	q := url.Values{"after": {strconv.FormatUint(*after, 10)}}
	if about != "" {
		q.Set("for", about)
	}
	res, err := c.try(ctx, request{method: http.MethodGet, path: "/v1/events?" + q.Encode(), header: http.Header{"Accept": {"text/event-stream"}}})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, maxEvent)
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
		*after = e.Index
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return api.Errorf(api.CodeFailed, "an event is longer than %s", api.Bytes(maxEvent))
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
