package server

import (
	"iter"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server/exchange"
	"github.com/mesita/mesita/fsm"
)

const defaultIncidents = 100

// listIncidents lists the open ones first, each part the newest first.
func listIncidents(c *call) (any, error) {
	open, about := c.Query.Flag("open"), c.Query.Text("for")
	limit := c.Query.Number("limit", defaultIncidents, 1, api.MaxIncidents)
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	v := c.Store.View()
	var rows iter.Seq[*api.Incident] = func(yield func(*api.Incident) bool) {
		left := limit
		for _, over := range []bool{false, true} {
			for i := range v.Incidents() {
				if left == 0 || over && open {
					return
				}
				if i.Over.IsZero() == over || about != "" && about != i.Object && about != i.Job && about != i.Node {
					continue
				}
				if left--; !yield(i) {
					return
				}
			}
		}
	}
	return exchange.ListOf(rows), nil
}

// closed says how many were closed.
type closed struct {
	Closed int `json:"closed"`
}

func closeIncidents(c *call) (any, error) {
	var in api.IncidentClose
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	n, err := exchange.DoAs[int](c.Call, &fsm.IncidentClose{Meta: c.Meta(), IDs: in.IDs})
	return closed{n}, err
}
