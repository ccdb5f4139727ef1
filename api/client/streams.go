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
