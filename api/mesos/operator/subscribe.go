package operator

import (
	"context"
	"time"

	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/api/mesos/outbox"
	"github.com/mesita/mesita/api/mesos/reply"
	"github.com/mesita/mesita/api/mesos/rows"
	v1 "github.com/mesita/mesita/api/mesos/v1"
	"github.com/mesita/mesita/api/mesos/wire"
)

const (
	heartbeat = 15 * time.Second
	// whole is up to how many bytes the first event is written at once: some clients take
	// what comes at once for one event.
	whole = 1 << 20
)

// Lead has operators subscribe here until ctx ends, with the lead of this node.
func (s *Server) Lead(ctx context.Context) error {
	f := newFeed(s.Store)
	s.feed.Store(f)
	defer s.feed.Store(nil)
	f.run(ctx)
	return nil
}

// subscribe serves one subscription until it ends.
func (s *Server) subscribe(c *exchange.Call, r *request) (any, error) {
	f := s.feed.Load()
	if f == nil {
		return nil, reply.Unavailable(reply.NotRecovered)
	}
	sub := &subscriber{id: c.ID, format: r.accept, began: make(chan struct{}), Outbox: newOutbox(f, r.accept)}
	if err := f.enter(sub); err != nil {
		return nil, err
	}
	defer sub.Forget()
	defer f.leave(sub)
	c.Release()
	out := exchange.NewStream(c)
	select {
	case <-sub.began:
	case <-sub.Ready(): // the lead ended before
		return nil, reply.Unavailable(reply.NoLeader)
	case <-c.R.Context().Done():
		return nil, c.R.Context().Err()
	}
	if out.Begin(r.accept.MediaType()) != nil || s.first(c, out, sub) != nil {
		return exchange.Done{}, nil // the caller is gone
	}
	pump(c, sub, out)
	return exchange.Done{}, nil
}

func newOutbox(f *feed, format wire.Format) *outbox.Outbox { return outbox.New(format, held, &f.total) }

// first tells a subscriber what there is. It may be much, so it is counted before it is
// written, as a record begins with its length, and nobody holds all of it.
func (s *Server) first(c *exchange.Call, out exchange.Stream, sub *subscriber) error {
	select {
	case s.snapshots <- struct{}{}:
		defer func() { <-s.snapshots }()
	case <-c.R.Context().Done():
		return c.R.Context().Err()
	}
	n := 0
	if err := putSubscribed(sub, func(b []byte) error { n += len(b); return nil }); err != nil {
		return err
	}
	b := wire.AppendLength(nil, n)
	err := putSubscribed(sub, func(p []byte) error {
		if b = append(b, p...); n <= whole {
			return nil
		}
		err := out.Write(b, false)
		b = b[:0]
		return err
	})
	if err != nil {
		return err
	}
	sub.view = nil // it is of much memory, and told
	return out.Write(b, true)
}

// putSubscribed writes the first event.
func putSubscribed(sub *subscriber, out func([]byte) error) error {
	w := wire.NewWriter(sub.format, &v1.MasterEvent{}, out)
	if err := w.Put(v1.MasterEventTypeSubscribed, "type"); err != nil {
		return err
	}
	if err := putState(w, rows.Of(sub.view, sub.id), "subscribed", "get_state"); err != nil {
		return err
	}
	if err := w.Put(heartbeat.Seconds(), "subscribed", "heartbeat_interval_seconds"); err != nil {
		return err
	}
	return w.Close()
}

// pump writes what a subscriber is told until it ends, its reader leaves, or the lead does.
func pump(c *exchange.Call, sub *subscriber, out exchange.Stream) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	b, err := wire.Marshal(sub.format, event(v1.MasterEventTypeHeartbeat))
	if err != nil {
		return
	}
	beats := wire.AppendRecord(nil, b)
	if out.Write(beats, true) != nil {
		return
	}
	for {
		events, _, ended := sub.Take()
		for i, e := range events {
			if out.Write(e.Bytes, i == len(events)-1) != nil {
				return
			}
		}
		if ended {
			return
		}
		select {
		case <-c.R.Context().Done():
			return
		case <-sub.Ready():
		case <-beat.C:
			if out.Write(beats, true) != nil {
				return
			}
		}
	}
}
