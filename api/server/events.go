package server

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server/exchange"
)

const (
	defaultEvents = 100
	maxEvents     = 16384
	eventBatch    = 256

	eventHeartbeat = 15 * time.Second
)

func listEvents(c *call) (any, error) {
	limit := c.Query.Number("limit", 0, 1, maxEvents)
	after, resumed := c.Query.Index("after"), c.Query.Has("after")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	about := c.Query.Text("for")
	wanted := func(e *api.Event) bool { return about == "" || e.About(about) }
	if strings.Contains(c.R.Header.Get("Accept"), "text/event-stream") {
		if id := c.R.Header.Get("Last-Event-Id"); id != "" {
			n, err := strconv.ParseUint(id, 10, 64)
			if err != nil {
				return nil, api.FieldErrorf("Last-Event-ID", "%q is not an index", id)
			}
			after, resumed = n, true
		}
		return c.streamEvents(after, resumed, limit, wanted)
	}
	if limit == 0 {
		limit = defaultEvents
	}
	return exchange.ListOf(slices.Values(c.newest(limit, after, wanted))), nil
}

// newest is the newest events that are wanted, oldest first.
func (c *call) newest(limit int, after uint64, wanted func(*api.Event) bool) []api.Event {
	events := c.Store.RecentEvents(maxEvents)
	var out []api.Event
	for i := len(events) - 1; i >= 0 && len(out) < limit && events[i].Index > after; i-- {
		if wanted(&events[i]) {
			out = append(out, events[i])
		}
	}
	slices.Reverse(out)
	return out
}

// streamEvents sends events as they happen, each once. It begins after the
// one the reader saw last, or with the newest few, or with the next.
func (c *call) streamEvents(after uint64, resumed bool, limit int, wanted func(*api.Event) bool) (any, error) {
	if resumed {
		// A reader who is too late must learn it before the stream begins.
		ended, cancel := context.WithCancel(c.R.Context())
		cancel()
		if _, err := c.Store.Events(ended, after, 1); err != nil && api.ErrorCode(err) == api.CodeConflict {
			return nil, err
		}
	} else {
		after = c.Store.View().LastEvent()
	}
	out := exchange.NewStream(c.Call)
	if err := out.Begin("text/event-stream"); err != nil {
		return exchange.Done{}, nil
	}
	if !resumed && limit > 0 {
		for _, e := range c.newest(limit, 0, func(e *api.Event) bool { return e.Index <= after && wanted(e) }) {
			if sendEvent(out, &e, false) != nil {
				return exchange.Done{}, nil
			}
		}
		if out.Control.Flush() != nil {
			return exchange.Done{}, nil
		}
	}
	c.followEvents(out, after, wanted)
	return exchange.Done{}, nil
}

// followEvents ends when the reader leaves or is too slow, and when this node
// no longer leads: the reader then resumes at another.
func (c *call) followEvents(out exchange.Stream, after uint64, wanted func(*api.Event) bool) {
	led := c.Cluster.IsLeader()
	for {
		ctx, cancel := context.WithTimeout(c.R.Context(), eventHeartbeat)
		events, err := c.Store.Events(ctx, after, eventBatch)
		cancel()
		switch {
		case c.R.Context().Err() != nil:
			return
		case errors.Is(err, context.DeadlineExceeded):
			if led && !c.Cluster.IsLeader() || out.Write([]byte(": still here\n\n"), true) != nil {
				return
			}
		case err != nil:
			sendFailure(out, err)
			return
		}
		for i := range events {
			after = events[i].Index
			if wanted(&events[i]) && sendEvent(out, &events[i], i == len(events)-1) != nil {
				return
			}
		}
		if len(events) > 0 && out.Control.Flush() != nil {
			return
		}
	}
}

// sendEvent sends one event of a server-sent event stream.
func sendEvent(s exchange.Stream, e *api.Event, flush bool) error {
	enc := exchange.GetEncoder()
	defer enc.Free()
	enc.WriteString("id: ")
	enc.WriteString(strconv.FormatUint(e.Index, 10))
	enc.WriteString("\nevent: ")
	enc.WriteString(string(e.Kind))
	enc.WriteString("\ndata: ")
	if err := enc.JSON.Encode(e); err != nil {
		return err
	}
	enc.WriteByte('\n')
	return s.Write(enc.Bytes(), flush)
}

// sendFailure ends a stream with the reason, if the reader still takes it.
func sendFailure(s exchange.Stream, err error) {
	enc := exchange.GetEncoder()
	defer enc.Free()
	enc.WriteString("event: error\ndata: ")
	if enc.JSON.Encode(exchange.ErrorBody{Error: exchange.AsError(err)}) == nil {
		enc.WriteByte('\n')
		s.Write(enc.Bytes(), true) // the stream ends either way
	}
}
