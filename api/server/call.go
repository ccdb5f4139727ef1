package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/fsm"
)

const (
	maxBody      = 4 << 20          // of a JSON request
	bodyTimeout  = 30 * time.Second // to send it
	writeTimeout = 30 * time.Second // to take an answer
	maxKey       = 128              // of an idempotency key
)

// call is one request on its way through.
type call struct {
	*Server
	w        http.ResponseWriter
	r        *http.Request
	route    *route
	args     [1]string // path values
	id       auth.Identity
	q        query
	body     []byte
	buf      *bytes.Buffer // holds body
	answered bool          // the header is out
	status   int
}

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooled keeps a rare large body from staying in memory for ever.
const maxPooled = 64 << 10

func (c *call) serve(cred auth.Credentials) {
	defer c.recovered()
	if err := c.prepare(cred); err != nil {
		c.fail(err)
	} else if err := c.run(); err != nil {
		c.fail(err)
	}
	if c.route != nil {
		c.counts[c.route.index].add(c.status)
	}
	if c.buf != nil && c.buf.Cap() <= maxPooled {
		c.buf.Reset()
		bodies.Put(c.buf)
	}
}

// prepare does all that can refuse a request before it acts.
func (c *call) prepare(cred auth.Credentials) (err error) {
	if c.route, err = c.routes.find(c.r, &c.args); err != nil {
		c.refuseBody()
		return err
	}
	if err := c.checkSize(); err != nil {
		return err
	}
	if c.route.role > api.RoleNone {
		if c.id, err = c.Auth.Identify(c.r, cred); err == nil && !c.id.Unverified {
			err = c.id.Check(c.route.role)
		}
	} else if c.r.Header.Get(auth.HeaderForwarded) != "" {
		// Without an identity nothing is taken on trust, only a loop avoided.
		c.id.Forwarded = true
	}
	if err != nil {
		c.refuseBody()
		return err
	}
	if c.id.Unverified && c.route.local {
		return c.verifyElsewhere()
	}
	if c.q, err = parseQuery(c.r, c.route.query); err != nil {
		return err
	}
	return c.readBody()
}

// checkSize refuses a body that says itself that it is too large, before a
// byte of it is read.
func (c *call) checkSize() error {
	limit := int64(maxBody)
	if c.route.body == blobBody {
		limit = api.MaxBlob
	}
	if c.r.ContentLength > limit {
		c.refuseBody()
		return tooLarge(limit)
	}
	return nil
}

func tooLarge(limit int64) error {
	return api.Errorf(api.CodeTooLarge, "the request body is over %s, the most that is accepted here: send it in parts", api.Bytes(limit))
}

// refuseBody has the connection closed rather than the body read to its end,
// which net/http would wait for before it answers.
func (c *call) refuseBody() {
	if c.r.ContentLength != 0 {
		c.w.Header()["Connection"] = []string{"close"}
		http.NewResponseController(c.w).SetReadDeadline(time.Now()) // an in-memory writer has none
	}
}

func (c *call) readBody() error {
	if c.r.ContentLength == 0 || c.route.body == blobBody {
		return nil
	}
	rc := http.NewResponseController(c.w)
	rc.SetReadDeadline(time.Now().Add(c.patience.body)) // an in-memory writer has none
	c.buf = bodies.Get().(*bytes.Buffer)
	if _, err := c.buf.ReadFrom(http.MaxBytesReader(c.w, c.r.Body, maxBody)); err != nil {
		c.refuseBody()
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return tooLarge(maxBody)
		}
		return api.Errorf(api.CodeInvalid, "the request body is cut off or too slow: %v", err)
	}
	rc.SetReadDeadline(time.Time{})
	if c.body = c.buf.Bytes(); c.route.body == nil {
		return c.decode(&struct{}{})
	}
	return nil
}

// decode reads the JSON body into v. No body is like {}.
func (c *call) decode(v any) error {
	if len(c.body) == 0 {
		return api.DecodeStrict(bytes.NewReader([]byte("{}")), v)
	}
	return api.DecodeStrict(bytes.NewReader(c.body), v)
}

func (c *call) meta() fsm.Meta { return fsm.Meta{At: c.Now(), Actor: c.id.Actor} }

// do proposes one command.
func (c *call) do(cmd fsm.Command) (any, error) {
	v, err := c.Store.Do(c.r.Context(), cmd)
	if err != nil && c.r.Context().Err() != nil && api.ErrorCode(err) == api.CodeInternal {
		return nil, api.Errorf(api.CodeUnknown, "the request ended before its outcome was known: %v", err)
	}
	return v, err
}

// doAs proposes one command whose value is a T.
func doAs[T any](c *call, cmd fsm.Command) (T, error) {
	v, err := c.do(cmd)
	t, _ := v.(T)
	return t, err
}

// requestKey is the caller's idempotency key.
func (c *call) requestKey() (string, error) {
	key := c.r.Header.Get("Idempotency-Key")
	if len(key) > maxKey {
		return "", api.FieldErrorf("Idempotency-Key", "has %d characters, at most %d are allowed", len(key), maxKey)
	}
	return key, nil
}

// recovered turns a panic into an error of one request.
func (c *call) recovered() {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p) // the server's own way to cut a connection
	}
	c.Log.Error("panic in a request", "method", c.r.Method, "path", c.r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if c.answered {
		panic(http.ErrAbortHandler) // the answer cannot be completed
	}
	c.fail(api.Errorf(api.CodeInternal, "a bug in mesita: the log of node %s has the details; please report it", c.NodeName))
}

// asError gives err the code and words that the caller gets.
func asError(err error) *api.Error {
	var e *api.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return api.Errorf(api.CodeTimeout, "it took too long: %v", err)
	case errors.Is(err, context.Canceled):
		return api.Errorf(api.CodeUnavailable, "the request was cut off: %v", err)
	}
	return api.Errorf(api.CodeInternal, "%v", err)
}
