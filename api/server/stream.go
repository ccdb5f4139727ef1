package server

import (
	"net/http"
	"time"

	"github.com/mesita/mesita/api"
)

const (
	streamTimeout  = 10 * time.Second // for a reader to take what is sent
	eventHeartbeat = 15 * time.Second
	nodeHeartbeat  = 10 * time.Second
)

// enterStream counts a stream in, up to the bound.
func (s *Server) enterStream() (leave func(), err error) {
	if s.streams.Add(1) > int64(s.MaxStreams) {
		s.streams.Add(-1)
		return nil, api.Errorf(api.CodeBusy, "node %s serves %d streams already: end some, or ask another node", s.NodeName, s.MaxStreams)
	}
	return func() { s.streams.Add(-1) }, nil
}

// stream writes an answer that goes on, and cuts readers that do not take it.
type stream struct {
	c  *call
	rc *http.ResponseController
}

func newStream(c *call) stream { return stream{c, http.NewResponseController(c.w)} }

// begin sends the header.
func (s stream) begin(contentType string) error {
	s.c.head(http.StatusOK, []string{contentType})
	s.extend()
	return s.rc.Flush()
}

func (s stream) extend() {
	s.rc.SetWriteDeadline(time.Now().Add(s.c.patience.reader)) // an in-memory writer has none
}

func (s stream) write(b []byte, flush bool) error {
	s.extend()
	if _, err := s.c.w.Write(b); err != nil {
		return err
	}
	if !flush {
		return nil
	}
	return s.rc.Flush()
}

// json sends one JSON value and a line end.
func (s stream) json(v any) error {
	e := getEncoder()
	defer e.free()
	if err := e.json.Encode(v); err != nil {
		return err
	}
	return s.write(e.Bytes(), true)
}
