package mesos

import (
	"time"

	"github.com/mesita/mesita/api/mesos/legacy"
	"github.com/mesita/mesita/api/mesos/rows"
)

var _ legacy.Master = (*Server)(nil)

// Started is when this node did.
func (s *Server) Started() time.Time { return s.started }

// Calls counts what frameworks called for.
func (s *Server) Calls(yield func(name string, n uint64) bool) {
	for i, name := range callNames {
		if !yield(name, s.calls[i].Load()) {
			return
		}
	}
}

// Figures are metrics by the names of Mesos, of what a reader sees.
func (s *Server) Figures(r *rows.Rows, put func(name string, value float64)) {
	legacy.Figures(s, r, s.Now(), put)
}
