package server

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/mesita/mesita/api"
)

const (
	defaultEvents = 100
	maxEvents     = 16384
	eventBatch    = 256
)

func listEvents(c *call) (any, error) {
	limit := c.q.number("limit", 0, 1, maxEvents)
	after, resumed := c.q.index("after"), c.q.has("after")
	if c.q.err != nil {
		return nil, c.q.err
	}
	about := c.q.text("for")
	wanted := func(e *api.Event) bool { return about == "" || e.About(about) }
	if strings.Contains(c.r.Header.Get("Accept"), "text/event-stream") {
		if id := c.r.Header.Get("Last-Event-Id"); id != "" {
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
	return listOf(slices.Values(c.newest(limit, after, wanted))), nil
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
		ended, cancel := context.WithCancel(c.r.Context())
		cancel()
		if _, err := c.Store.Events(ended, after, 1); err != nil && api.ErrorCode(err) == api.CodeConflict {
			return nil, err
		}
	} else {
		after = c.Store.View().LastEvent()
	}
	out := newStream(c)
	if err := out.begin("text/event-stream"); err != nil {
		return done{}, nil
	}
	if !resumed && limit > 0 {
		for _, e := range c.newest(limit, 0, func(e *api.Event) bool { return e.Index <= after && wanted(e) }) {
			if out.event(&e, false) != nil {
				return done{}, nil
			}
		}
		if out.rc.Flush() != nil {
			return done{}, nil
		}
	}
	c.followEvents(out, after, wanted)
	return done{}, nil
}

// followEvents ends when the reader leaves or is too slow, and when this node
// no longer leads: the reader then resumes at another.
func (c *call) followEvents(out stream, after uint64, wanted func(*api.Event) bool) {
	led := c.Cluster.IsLeader()
	for {
		ctx, cancel := context.WithTimeout(c.r.Context(), eventHeartbeat)
		events, err := c.Store.Events(ctx, after, eventBatch)
		cancel()
		switch {
		case c.r.Context().Err() != nil:
			return
		case errors.Is(err, context.DeadlineExceeded):
			if led && !c.Cluster.IsLeader() || out.write([]byte(": still here\n\n"), true) != nil {
				return
			}
		case err != nil:
			out.failure(err)
			return
		}
		for i := range events {
			after = events[i].Index
			if wanted(&events[i]) && out.event(&events[i], i == len(events)-1) != nil {
				return
			}
		}
		if len(events) > 0 && out.rc.Flush() != nil {
			return
		}
	}
}

// event sends one event of a server-sent event stream.
func (s stream) event(e *api.Event, flush bool) error {
	enc := getEncoder()
	defer enc.free()
	enc.WriteString("id: ")
	enc.WriteString(strconv.FormatUint(e.Index, 10))
	enc.WriteString("\nevent: ")
	enc.WriteString(string(e.Kind))
	enc.WriteString("\ndata: ")
	if err := enc.json.Encode(e); err != nil {
		return err
	}
	enc.WriteByte('\n')
	return s.write(enc.Bytes(), flush)
}

// failure ends a stream with the reason, if the reader still takes it.
func (s stream) failure(err error) {
	enc := getEncoder()
	defer enc.free()
	enc.WriteString("event: error\ndata: ")
	if enc.json.Encode(errorBody{asError(err)}) == nil {
		enc.WriteByte('\n')
		s.write(enc.Bytes(), true) // the stream ends either way
	}
}
