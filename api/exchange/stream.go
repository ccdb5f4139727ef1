package exchange

import (
	"net/http"
	"time"

	"github.com/mesita/mesita/api/auth"
)

const (
	streamTimeout = 10 * time.Second // for a reader to take what is sent
	execTimeout   = time.Minute      // for one who cannot begin again where he was
)

// EnterStream counts a stream in, up to the bounds.
func (c *Call) EnterStream() (leave func(), err error) {
	who := c.holder()
	if err := c.streams.Take(who, 1); err != nil {
		return nil, err
	}
	return func() { c.streams.Give(who, 1) }, nil
}

// Stream writes an answer that continues, cuts readers that do not take it, and
// ends with what allows it.
type Stream struct {
	c       *Call
	Control *http.ResponseController
}

// NewStream is the answer of a route that says that it may last.
func NewStream(c *Call) Stream {
	if !c.lasts() {
		panic("the route " + c.Route.Path + " does not say that its answer lasts, so nothing would end it with its caller's token")
	}
	return newStream(c)
}

func newStream(c *Call) Stream { return Stream{c, http.NewResponseController(c.W)} }

// Begin sends the header.
func (s Stream) Begin(contentType string) error {
	s.c.Head(http.StatusOK, []string{contentType})
	s.extend()
	return s.Flush()
}

func (s Stream) extend() {
	s.Control.SetWriteDeadline(time.Now().Add(s.c.Patience.Reader)) // an in-memory writer has none
}

// Flush sends what was written. From then on the reader is waited for no more: over
// HTTP/2 a deadline that is left ends the stream, whether something is sent or not.
func (s Stream) Flush() error {
	s.extend()
	err := s.Control.Flush()
	s.Control.SetWriteDeadline(time.Time{}) // an in-memory writer has none
	return err
}

// Write sends a part of the answer, unless the caller may have no more of it.
func (s Stream) Write(b []byte, flush bool) error {
	if err := s.c.Over(); err != nil {
		return err
	}
	return s.last(b, flush)
}

// Types of streams that can say why they end.
const (
	NDJSON = "application/x-ndjson"
	SSE    = "text/event-stream"
)

// Fail says why the stream ends, in a row of its own, if it can and the reader
// still takes it.
func (s Stream) Fail(err error) {
	e := GetEncoder()
	defer e.Free()
	switch kind := s.c.W.Header().Get("Content-Type"); {
	case s.c.torn || s.c.Route.Action == auth.BeNode: // within a row; nodes ask again anyway
		return
	case kind == SSE:
		e.WriteString("event: error\ndata: ")
	case kind != NDJSON:
		return
	}
	if e.JSON.Encode(ErrorBody{AsError(err)}) != nil {
		return
	}
	e.WriteByte('\n')
	s.last(e.Bytes(), true) // the stream ends either way
}

func (s Stream) last(b []byte, flush bool) error {
	s.extend()
	if len(b) > 0 {
		s.c.torn = b[len(b)-1] != '\n'
	}
	if _, err := s.c.W.Write(b); err != nil || !flush {
		return err
	}
	return s.Flush()
}

// Row encodes what is wanted of a row, as in a list.
func (s Stream) Row(e *Encoder, v any) error { return s.c.row(e, v) }

// JSON sends one JSON value and a line end.
func (s Stream) JSON(v any) error {
	e := GetEncoder()
	defer e.Free()
	if err := e.JSON.Encode(v); err != nil {
		return err
	}
	return s.Write(e.Bytes(), true)
}
