package server

import (
	"fmt"
	"iter"
	"math"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/exchange"
	"github.com/mesita/mesita/fsm"
)

// incidentKey is the order of incidents: open ones first, each part from the
// newest on.
func incidentKey(i *api.Incident) string {
	return fmt.Sprintf("%t %020d", !i.Over.IsZero(), math.MaxUint64-i.ID)
}

// listIncidents lists the open ones first, each part the newest first.
func listIncidents(c *call) (any, error) {
	open, about := c.Query.Flag("open"), c.Query.Text("for")
	if c.Query.Err != nil {
		return nil, c.Query.Err
	}
	v := c.Store.View()
	sees := c.sight(v)
	var rows iter.Seq[*api.Incident] = func(yield func(*api.Incident) bool) {
		for _, over := range []bool{false, true} {
			for i := range v.Incidents() {
				if over && open {
					return
				}
				if i.Over.IsZero() == over || about != "" && about != i.Object && about != i.Job && about != i.Node || !sees.incident(i) {
					continue
				}
				if !yield(i) {
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
