package exchange

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

const (
	// lookAgain is how often it is looked whether who opened what lasts still
	// may, beside each change of the token.
	lookAgain = 10 * time.Second

	// farewell is how long what lasts may take to say why it ends.
	farewell = 2 * time.Second
)

// Lasting reports whether a request may continue after it was allowed.
func (r *Route) Lasting() bool {
	return r.Stream || r.Held != "" || r.Body == BlobBody || r.Answer == BlobBody
}

func (c *Call) lasts() bool {
	r := c.Route
	return r.Lasting() && (r.Held == "" || c.Query.Has(r.Held)) && (r.Lasts == nil || r.Lasts(c))
}

// hold ends the request's context once who sent it may do so no longer: its
// token is revoked or expires, or its node is removed. The node that checked
// the credentials looks after them for as long as the answer lasts; those that
// it relays to end with it.
func (c *Call) hold() (release func()) {
	ctx, cancel := context.WithCancelCause(c.R.Context())
	c.R = c.R.WithContext(ctx)
	done := make(chan struct{})
	c.holds.Add(1)
	h := holder{Server: c.Server, id: c.ID, r: c.R, elsewhere: c.elsewhere, upload: c.Route.Body == BlobBody}
	go func() {
		defer close(done)
		if err := h.run(ctx); err != nil {
			cancel(&overError{err})
			if h.upload {
				http.NewResponseController(c.W).SetReadDeadline(time.Now()) // an in-memory writer has none
			}
		}
	}()
	return func() {
		cancel(nil)
		<-done
		c.holds.Add(-1)
	}
}

// Holding is how many requests last now.
func (s *Server) Holding() int64 { return s.holds.Load() }

// overError is the cause of what ends because who began it may no longer.
type overError struct{ error }

func (e *overError) Unwrap() error { return e.error }

// whenOver calls f once who sent the request may do so no longer.
func (c *Call) whenOver(f func()) {
	ctx := c.R.Context()
	context.AfterFunc(ctx, func() {
		if over(ctx) != nil {
			f()
		}
	})
}

// Over is why who sent the request may do so no longer; nil = it may.
func (c *Call) Over() error { return over(c.R.Context()) }

func over(ctx context.Context) error {
	var e *overError
	if errors.As(context.Cause(ctx), &e) {
		return e.error
	}
	return nil
}

// holder looks after who may use a route.
type holder struct {
	*Server
	id        auth.Identity
	r         *http.Request
	elsewhere bool // the leader checked the credentials, and is to be asked again
	upload    bool
}

// run returns why the holder may no longer, or nil when ctx ends.
func (h *holder) run(ctx context.Context) error {
	var watch *fsm.Watcher
	var changed <-chan struct{}
	var look <-chan time.Time
	switch {
	case h.id.Token != "":
		watch = h.Store.WatchKey(h.id.Token, fsm.TableTokens)
	case h.id.NodeID != "" && !h.id.Forwarded:
		watch = h.Store.WatchKey(h.id.NodeID, fsm.TableNodes)
	case !h.elsewhere:
		return nil // it does not end, or another node looks after it
	}
	if watch != nil {
		defer watch.Close()
		changed = watch.Ready()
	}
	if h.id.Token != "" || h.elsewhere {
		tick := time.NewTicker(h.Patience.Look)
		defer tick.Stop()
		look = tick.C
	}
	for {
		expiry := time.NewTimer(h.Auth.Left(h.id))
		select {
		case <-ctx.Done():
		case <-changed:
			watch.Take()
		case <-look:
		case <-expiry.C:
		}
		expiry.Stop()
		if ctx.Err() != nil {
			return nil
		}
		if err := h.still(ctx); err != nil {
			return err
		}
	}
}

// still says why the holder may no longer. A leader that does not answer does
// not end anything.
func (h *holder) still(ctx context.Context) error {
	if !h.elsewhere {
		return h.Auth.Still(h.id)
	}
	var who Whoami
	c := &Call{Server: h.Server, R: h.r.WithContext(ctx), ID: auth.Identity{Unverified: true}}
	err := c.Ask(http.MethodGet, "/v1/whoami", nil, &who)
	if err == nil {
		return h.id.Became(who.identity())
	}
	if api.ErrorCode(err) == api.CodeNotAllowed {
		return err
	}
	return nil
}
