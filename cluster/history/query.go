package history

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/mesita/mesita/api"
)

// Newest calls yield with the events that a filter lets through, the newest
// first, until there are no more, yield is false or ctx ends. The events of the
// last second may be missing: the store has them.
func (h *History) Newest(ctx context.Context, f api.EventFilter, yield func(*api.Event) bool) error {
	select {
	case h.readers <- struct{}{}:
		defer func() { <-h.readers }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	h.mu.Lock()
	segments := slices.Clone(h.segments)
	h.mu.Unlock()
	q := query{ctx: ctx, EventFilter: f, coder: newCoder(), node: h.cfg.Node, yield: yield}
	for i := len(segments) - 1; i >= 0 && !q.done; i-- {
		err := q.segment(&segments[i])
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, fs.ErrNotExist): // its time was over
		case err != nil: // what is left is better than nothing
			h.cfg.Log.Warn("a part of the history of events cannot be read", "file", segments[i].path, "err", err)
		}
	}
	return nil
}

// query is one under way. Before falls with each frame: what was written later
// hides what has the same index.
type query struct {
	ctx context.Context
	api.EventFilter
	coder *coder
	node  string
	yield func(*api.Event) bool
	done  bool
	edge  edge
}

// edge is the frame that was looked at last, or the first of a segment that was
// passed over: what is older should end right before it.
type edge struct {
	path  string // "" = none yet
	at    int64  // of the frame in it
	first uint64
}

// outside reports whether no event within these bounds is wanted.
func (q *query) outside(first, last uint64, oldest, newest int64) bool {
	return q.Before != 0 && first >= q.Before || last <= q.After || !q.Since.IsZero() && newest < q.Since.UnixNano() || !q.Until.IsZero() && oldest > q.Until.UnixNano()
}

func (q *query) hide(first uint64) {
	if q.Before == 0 || first < q.Before {
		q.Before = first
	}
}

func (q *query) segment(s *segment) error {
	if s.first == 0 {
		return nil
	}
	defer q.hide(s.first)
	if q.outside(s.first, s.last, s.oldest, s.newest) {
		q.meets(s.last, s.newest)
		q.edge = edge{s.path, int64(len(preamble)), s.first}
		return nil
	}
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	frames, err := q.frames(&window{r: f, size: s.size})
	for i := len(frames) - 1; i >= 0 && !q.done; i-- {
		if q.ctx.Err() != nil {
			return nil
		}
		if q.meets(frames[i].Last, frames[i].Newest); q.done {
			return err
		}
		q.edge = edge{s.path, frames[i].at, frames[i].First}
		if !q.outside(frames[i].First, frames[i].Last, frames[i].Oldest, frames[i].Newest) && frames[i].may {
			err = errors.Join(err, q.frame(f, frames[i].frame))
		}
		q.hide(frames[i].First)
	}
	return err
}

// meets takes in that what is older ends with an index, at a time. If that is
// not right before the edge, and nothing there says so already, what is between
// is lost.
func (q *query) meets(last uint64, at int64) {
	if q.edge.path == "" || last+1 >= q.edge.first {
		return
	}
	if f, err := os.Open(q.edge.path); err == nil {
		defer f.Close()
		b := make([]byte, headerSize)
		if _, err = f.ReadAt(b, q.edge.at); err == nil {
			var h header
			if h, err = parseHeader(b); err == nil {
				events, err := q.coder.events(f, frame{h, q.edge.at})
				if err == nil && len(events) > 0 && events[0].Kind == api.EventsMissed {
					return
				}
			}
		}
	}
	q.lost(last+1, q.edge.first-1, at)
}

// lost tells of events that cannot be read any more.
func (q *query) lost(from, to uint64, at int64) {
	e := missed(q.node, from, to, time.Unix(0, at).UTC())
	if q.Match(&e) && !q.yield(&e) {
		q.done = true
	}
}

// candidate is a frame of which is known whether it may hold something.
type candidate struct {
	frame
	may bool
}

func (q *query) frames(in *window) (out []candidate, err error) {
	want, missed := hash(q.For), hash(missedID)
	err = in.frames(q.For != "", func(fr frame, filter bloom) error {
		if q.Before == 0 || fr.First < q.Before {
			out = append(out, candidate{fr, q.For == "" || filter == nil || filter.has(want) || filter.has(missed)})
		}
		return q.ctx.Err()
	})
	return out, err
}

func (q *query) frame(f *os.File, fr frame) error {
	events, err := q.coder.events(f, fr)
	if err != nil {
		q.lost(fr.First, fr.Last, fr.Newest)
		return err
	}
	for i := len(events) - 1; i >= 0; i-- {
		e := &events[i]
		if q.Match(e) && !q.yield(e) {
			q.done = true
			return nil
		}
	}
	return nil
}
