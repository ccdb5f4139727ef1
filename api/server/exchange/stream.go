package exchange

import (
	"net/http"
	"time"

	"github.com/mesita/mesita/api"
)

const streamTimeout = 10 * time.Second // for a reader to take what is sent

// EnterStream counts a stream in, up to the bound.
func (s *Server) EnterStream() (leave func(), err error) {
	if s.streams.Add(1) > int64(s.MaxStreams) {
		s.streams.Add(-1)
		return nil, api.Errorf(api.CodeBusy, "node %s serves %d streams already: end some, or ask another node", s.NodeName, s.MaxStreams)
	}
	return func() { s.streams.Add(-1) }, nil
}

// Stream writes an answer that goes on, and cuts readers that do not take it.
type Stream struct {
	c       *Call
	Control *http.ResponseController
}

func NewStream(c *Call) Stream { return Stream{c, http.NewResponseController(c.W)} }

// Begin sends the header.
func (s Stream) Begin(contentType string) error {
	s.c.Head(http.StatusOK, []string{contentType})
	s.Extend()
	return s.Control.Flush()
}

func (s Stream) Extend() {
	s.Control.SetWriteDeadline(time.Now().Add(s.c.Patience.Reader)) // an in-memory writer has none
}

func (s Stream) Write(b []byte, flush bool) error {
	s.Extend()
	if _, err := s.c.W.Write(b); err != nil {
		return err
	}
	if !flush {
		return nil
	}
	return s.Control.Flush()
}

// JSON sends one JSON value and a line end.
func (s Stream) JSON(v any) error {
	e := GetEncoder()
	defer e.Free()
	if err := e.JSON.Encode(v); err != nil {
		return err
	}
	return s.Write(e.Bytes(), true)
}
