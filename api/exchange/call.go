package exchange

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
	"github.com/mesita/mesita/api/budget"
	"github.com/mesita/mesita/fsm"
)

const (
	MaxBody      = 4 << 20          // of a JSON request
	maxStranger  = 32 << 10         // of one on a route for anybody
	bodyTimeout  = 30 * time.Second // to send it
	writeTimeout = 30 * time.Second // to take an answer
	maxKey       = 128              // of an idempotency key
)

// Call is one request on its way through.
type Call struct {
	*Server
	W         http.ResponseWriter
	R         *http.Request
	Route     *Route
	Args      [1]string // path values
	ID        auth.Identity
	cred      auth.Credentials // of the listener
	Query     Query
	page      *page
	event     uint64 // the last one as the call was read
	body      []byte
	buf       *bytes.Buffer // holds body
	who       budget.Who    // whom what the request holds is charged to
	held      int64         // bytes of it that were charged
	torn      bool          // the last part of a stream ended within a line
	Answered  bool          // the header is out
	Status    int
	elsewhere bool // the leader checked the credentials
	decided   bool // another node has answered, and recorded it
	noted     bool // this one has recorded it
	Subject   Subject
	doubt     bool // an earlier try of a write may have been acted on
	Read      any  // what the route's Lasts made of the body, for its handler
}

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// MaxPooled keeps a rare large body from staying in memory for ever.
const MaxPooled = 64 << 10

func (c *Call) serve(cred auth.Credentials) {
	var err error
	begun := time.Now()
	defer func() { c.note(err) }() // of a panic, too
	defer c.recovered()
	defer func() { c.bytes.Give(c.who, c.held) }()
	if err = c.prepare(cred); err == nil {
		err = c.run()
	}
	if err != nil {
		c.fail(err)
	}
	if c.Route != nil {
		c.counts[c.Route.Index].add(c.Status)
		if c.Took != nil {
			c.Took(c.Route, c.Status, time.Since(begun))
		}
	}
	if c.buf != nil && c.buf.Cap() <= MaxPooled {
		c.buf.Reset()
		bodies.Put(c.buf)
	}
}

// prepare does all that can refuse a request before it acts.
func (c *Call) prepare(cred auth.Credentials) (err error) {
	if c.Route, err = c.routes.find(c.R, &c.Args); err != nil {
		c.ID, _ = c.Auth.Identify(c.R, cred) // only for its pace: whoever it is finds nothing there
		return c.turnedAway(err)
	}
	if err := c.checkSize(); err != nil {
		return err
	}
	c.cred = cred
	err = c.identify()
	if err == nil && c.Route.Between && !c.ID.Forwarded {
		err = api.Errorf(api.CodeNotAllowed, "%s is between nodes", c.Route.Path)
	}
	if err == nil && !c.ID.Unverified {
		err = c.Route.check(c.ID)
	}
	if err != nil {
		return c.turnedAway(err)
	}
	c.who = c.holder()
	budget.Known(c.R.Context(), c.who)
	if !c.ID.Unverified { // who shows a token that only the leader can check pays for a wrong one otherwise
		if err := c.paced(); err != nil {
			c.RefuseBody()
			return err
		}
	}
	if err := c.charge(headerSize(c.R, c.who.Class)); err != nil {
		c.RefuseBody()
		return err
	}
	if c.ID.Unverified && c.Route.Local {
		return c.verifyElsewhere()
	}
	if err := c.readQuery(); err != nil {
		return err
	}
	return c.readBody()
}

// identify finds out who calls. On a route for anybody it only matters whether
// a node relays the request; a secret in the body costs like a bearer token
// when it is wrong.
func (c *Call) identify() (err error) {
	if c.Route.Basic {
		c.R = auth.WithBasic(c.R)
	}
	if c.Route.Action != auth.Nothing {
		c.ID, err = c.Auth.Identify(c.R, c.cred)
		return err
	}
	if c.R.Header.Get(auth.HeaderForwarded) != "" {
		id, err := c.Auth.Identify(c.R, c.cred)
		if err == nil {
			c.ID.Forwarded, c.ID.Via = id.Forwarded, id.Via
		}
	}
	if c.Route.Local || c.ID.Forwarded {
		return nil
	}
	return c.Auth.Allowed(c.R)
}

// checkSize refuses a body that says itself that it is too large, before a
// byte of it is read.
func (c *Call) checkSize() error {
	limit := c.Route.maxBody()
	if c.R.ContentLength > limit {
		c.RefuseBody()
		return TooLarge(limit)
	}
	return nil
}

func TooLarge(limit int64) error {
	return api.Errorf(api.CodeTooLarge, "the request body is over %s, the most that is accepted here: send it in parts", api.Bytes(limit))
}

// RefuseBody has the connection closed rather than the body read to its end,
// which net/http would wait for before it answers.
func (c *Call) RefuseBody() {
	if c.R.ContentLength != 0 {
		c.W.Header()["Connection"] = []string{"close"}
		http.NewResponseController(c.W).SetReadDeadline(time.Now()) // an in-memory writer has none
	}
}

// A small body may still be on its way: many clients send it after the headers,
// and see nothing but a broken connection if that was closed before.
const (
	smallBody = 16 << 10
	lateBody  = 300 * time.Millisecond
)

// dropBody is RefuseBody for whoever may well have made a mistake: a small body is
// waited for, and nothing of it kept, so that the answer is heard.
func (c *Call) dropBody() {
	c.RefuseBody()
	if c.R.ContentLength > 0 && c.R.ContentLength <= smallBody {
		http.NewResponseController(c.W).SetReadDeadline(time.Now().Add(lateBody))
	}
}

func (c *Call) readBody() error {
	if c.R.ContentLength == 0 || c.Route.Body == BlobBody {
		return nil
	}
	rc := http.NewResponseController(c.W)
	rc.SetReadDeadline(time.Now().Add(c.Patience.Body)) // an in-memory writer has none
	c.buf = bodies.Get().(*bytes.Buffer)
	if _, err := c.buf.ReadFrom(charged{http.MaxBytesReader(c.W, c.R.Body, c.Route.maxBody()), c}); err != nil {
		c.RefuseBody()
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return TooLarge(large.Limit)
		}
		if api.ErrorCode(err) == api.CodeBusy {
			return err
		}
		return api.Errorf(api.CodeInvalid, "the request body is cut off or too slow: %v", err)
	}
	rc.SetReadDeadline(time.Time{})
	if c.body = c.buf.Bytes(); c.Route.Body == nil {
		return c.Decode(&struct{}{})
	}
	return nil
}

// Body is the JSON body as it came.
func (c *Call) Body() []byte { return c.body }

// Decode reads the JSON body into v. No body is like {}.
func (c *Call) Decode(v any) error {
	if len(c.body) == 0 {
		return api.DecodeStrict(bytes.NewReader([]byte("{}")), v)
	}
	return api.DecodeStrict(bytes.NewReader(c.body), v)
}

func (c *Call) Meta() fsm.Meta { return fsm.Meta{At: c.Now(), Actor: c.ID.Actor} }

// Do proposes one command.
func (c *Call) Do(cmd fsm.Command) (any, error) {
	v, err := c.Store.Do(c.R.Context(), cmd)
	if err != nil && c.R.Context().Err() != nil && api.ErrorCode(err) == api.CodeInternal {
		return nil, api.Errorf(api.CodeUnknown, "the request ended before its outcome was known: %v", err)
	}
	return v, err
}

// DoAs proposes one command whose value is a T.
func DoAs[T any](c *Call, cmd fsm.Command) (T, error) {
	v, err := c.Do(cmd)
	t, _ := v.(T)
	return t, err
}

// RequestKey is the caller's idempotency key.
func (c *Call) RequestKey() (string, error) {
	key := c.R.Header.Get("Idempotency-Key")
	if len(key) > maxKey {
		return "", api.FieldErrorf("Idempotency-Key", "has %d characters, at most %d are allowed", len(key), maxKey)
	}
	return key, nil
}

// recovered turns a panic into an error of one request.
func (c *Call) recovered() {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p) // the server's own way to cut a connection
	}
	c.Log.Error("panic in a request", "method", c.R.Method, "path", c.R.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if c.Answered {
		panic(http.ErrAbortHandler) // the answer cannot be completed
	}
	c.fail(api.Errorf(api.CodeInternal, "a bug in mesita: the log of node %s has the details; please report it", c.NodeName))
}

// AsError gives err the code and words that the caller gets.
func AsError(err error) *api.Error {
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
