package server

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
)

const (
	defaultEvents = 100
	maxEvents     = 16384
	eventBatch    = 256
	maxSpecs      = 16 << 20 // bytes of commands and environments in a list, of which JSON makes up to six times as much
)

func listEvents(c *call) (any, error) {
	limit := c.Query.Number("limit", 0, 1, maxEvents)
	want, resumed := c.wantedEvents(), c.Query.Has("after")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	if strings.Contains(c.R.Header.Get("Accept"), "text/event-stream") {
		if id := c.R.Header.Get("Last-Event-Id"); id != "" {
			n, err := strconv.ParseUint(id, 10, 64)
			if err != nil {
				return nil, api.FieldErrorf("Last-Event-ID", "%q is not an index", id)
			}
			want.After, resumed = n, true
		}
		for _, name := range []string{"before", "since", "until"} {
			if c.Query.Has(name) {
				return nil, api.FieldErrorf(name, "is for a list: a stream begins after an index, or now; leave it out, or do not ask for text/event-stream")
			}
		}
		return c.streamEvents(want.After, resumed, limit, want.For)
	}
	if err := c.Store.View().Happened(want.After); err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = defaultEvents
	}
	events, cut, err := c.newest(limit, want)
	if err == nil && len(events) == 0 {
		err = c.known(want.For)
	}
	if err != nil {
		return nil, err
	}
	sees, out := c.sight(c.Store.View()), exchange.List{}
	out.Items = func(yield func(any) bool) {
		for i := range events {
			if e := sees.shownEvent(events[i]); !yield(&e) {
				return
			}
		}
	}
	if cut {
		out.Extra = earlier{events[0].Index}
	}
	return out, nil
}

// earlier is where the page before a list begins that stops early.
type earlier struct {
	Before uint64 `json:"before,omitempty"`
}

// known fails if nothing has that id, and no event that is kept is about it: it
// is a slip, and an empty list would read as "nothing happened".
func (c *call) known(id string) error {
	v := c.Store.View()
	if id == "" || c.sight(v).names(id) {
		return nil
	}
	if n := v.Cluster(); n != nil && n.ID == id {
		return nil
	}
	if any, _, err := c.newest(1, api.EventFilter{For: id}); err != nil || len(any) > 0 {
		return err
	}
	return api.Errorf(api.CodeNotFound, "no node, job, task, partition, framework or token is called %q, and no event that is kept is about one: see `mesita node ls` and `mesita ps`", id)
}

// wantedEvents reads which events are wanted; what is wrong is in the query.
func (c *call) wantedEvents() api.EventFilter {
	f := api.EventFilter{For: c.Query.Text("for"), After: c.Query.Index("after"), Before: c.Query.Index("before")}
	f.Since, f.Until = c.when("since"), c.when("until")
	if c.Query.Has("before") && f.Before == 0 {
		c.Query.Fail(api.FieldErrorf("before", "no event has an index below 1: give the lowest index of the page after it"))
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && f.Until.Before(f.Since) {
		c.Query.Fail(api.FieldErrorf("until", "is before since: exchange them"))
	}
	return f
}

func (c *call) when(name string) time.Time {
	s := c.Query.Text(name)
	if s == "" {
		return time.Time{}
	}
	t, err := api.ParseWhen(s, c.Now())
	if err != nil {
		c.Query.Fail(api.InField(name, err))
	}
	return t
}

// newest is the newest events that are wanted, oldest first: those that the
// store keeps, then those that this node remembers. It is cut if what they carry would
// be too much; there is one at least.
func (c *call) newest(limit int, f api.EventFilter) (out []api.Event, cut bool, err error) {
	sees, specs := c.sight(c.Store.View()), 0
	more := func(e *api.Event) bool {
		if f.Match(e) && sees.event(e) {
			full := sees.loaded(*e)
			specs += specSize(full.Payload.Job)
			if cut = specs > maxSpecs && len(out) > 0; cut {
				return false
			}
			out = append(out, full)
		}
		return len(out) < limit
	}
	before, done := f.Before, false
	if before == 0 {
		before = math.MaxUint64
	}
	for before > f.After && !done {
		events := c.Store.EventsBefore(before, eventBatch)
		if len(events) == 0 {
			break
		}
		for i := len(events) - 1; i >= 0 && !done; i-- {
			done = !more(&events[i])
		}
		before = events[0].Index
	}
	if c.History != nil && !done && before > f.After {
		if before != math.MaxUint64 {
			f.Before = before
		}
		err = c.History.Newest(c.R.Context(), f, more)
	}
	slices.Reverse(out)
	return out, cut, err
}

// streamEvents sends events as they happen, each once. It begins after the
// one the reader saw last, or with the newest few, or with the next.
func (c *call) streamEvents(after uint64, resumed bool, limit int, about string) (any, error) {
	if resumed {
		// A reader who is too late must learn it before the stream begins.
		ended, cancel := context.WithCancel(c.R.Context())
		cancel()
		if _, err := c.Store.Events(ended, after, 1); err != nil && api.ErrorCode(err) == api.CodeConflict {
			return nil, err
		}
		if err := c.sight(c.Store.View()).followable(c.Store, after); err != nil {
			return nil, err
		}
	} else {
		after = c.Store.View().LastEvent()
	}
	out := exchange.NewStream(c.Call)
	if err := out.Begin(exchange.SSE); err != nil {
		return exchange.Done{}, nil
	}
	if !resumed && limit > 0 {
		events, _, err := c.newest(limit, api.EventFilter{For: about, Before: after + 1})
		if err != nil {
			out.Fail(err)
			return exchange.Done{}, nil
		}
		sees := c.sight(c.Store.View())
		for i := range events {
			e := sees.shownEvent(events[i])
			if sendEvent(out, &e, false) != nil {
				return exchange.Done{}, nil
			}
		}
		if out.Flush() != nil {
			return exchange.Done{}, nil
		}
	}
	c.followEvents(out, after, api.EventFilter{For: about})
	return exchange.Done{}, nil
}

// followEvents ends when the reader leaves or is too slow, and when this node
// no longer leads: the reader then resumes at another.
func (c *call) followEvents(out exchange.Stream, after uint64, want api.EventFilter) {
	led := c.Cluster.IsLeader()
	for {
		ctx, cancel := context.WithTimeout(c.R.Context(), keepAlive)
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
			out.Fail(err)
			return
		}
		sees := c.sight(c.Store.View())
		if err := sees.followable(c.Store, after); err != nil {
			out.Fail(err)
			return
		}
		for i := range events {
			after = events[i].Index
			if sees.send(out, &events[i], &want, i == len(events)-1) != nil {
				return
			}
		}
		if len(events) > 0 && out.Flush() != nil {
			return
		}
	}
}

// sendEvent sends one event, as its reader may see it, of a server-sent event stream.
func sendEvent(s exchange.Stream, e *api.Event, flush bool) error {
	enc := exchange.GetEncoder()
	defer enc.Free()
	enc.WriteString("id: ")
	enc.WriteString(strconv.FormatUint(e.Index, 10))
	enc.WriteString("\nevent: ")
	enc.WriteString(string(e.Kind))
	enc.WriteString("\ndata: ")
	if err := s.Row(enc, e); err != nil {
		return err
	}
	enc.WriteString("\n\n")
	return s.Write(enc.Bytes(), flush)
}
