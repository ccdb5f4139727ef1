package cli

import (
	"net/http"

	"github.com/mesita/mesita/api"
)

// planDrain is what the drain of a node comes to: of oak, the last one, that a task of it
// has nowhere to go.
func (f *fake) planDrain(node string) *api.DrainPlan {
	if f.empties != nil {
		return f.empties
	}
	if node != "oak" {
		return &api.DrainPlan{Node: node, Moves: []api.Move{
			{Task: "57.0", Job: "57", From: node, Stays: true, Why: "it runs to its end"}, {Task: "web.1", Job: "web", From: node, To: "oak"}}}
	}
	return &api.DrainPlan{Node: node, Nowhere: 1, Moves: []api.Move{{Task: "web.0", Job: "web", From: node, Why: "no node can take it now"}}}
}

// rebalance is a plan of which web.1 moves as it is told, and web.2 had moved before.
func (f *fake) rebalance(r *http.Request) (any, error) {
	f.looks["moves"]++
	if r.URL.Query().Get("partition") == "one" {
		f.looks["alone"] = 1
	}
	if f.plan != nil {
		return f.plan, nil
	}
	if r.URL.Query().Get("max_moves") == "0" {
		return nil, api.FieldErrorf("max_moves", "0 is not within 1 to 1000")
	}
	return &api.RebalancePlan{Spread: 0.5, Then: 0.1, More: r.URL.Query().Get("max_moves") == "2",
		Nodes: []api.NodeLoad{{Node: "fir", Now: 0.6, Then: 0.4}, {Node: "oak", Now: 0.1, Then: 0.3}},
		Moves: []api.Move{
			{Task: "web.1", Job: "web", Attempt: 1, From: "fir", To: "oak", Why: "fir is 60% full, oak 10%"},
			{Task: "web.2", Job: "web", Attempt: 7, From: "fir", To: "oak", Why: "fir is 50% full, oak 20%"},
			{Task: "db.0", Job: "db", Attempt: 1, From: "fir", To: "oak", Alone: true}}[:2+min(1, f.looks["alone"])],
		Left: []api.Move{{Task: "once.0", Job: "once", From: "fir", Stays: true, Why: "it runs at most once"}}}, nil
}
