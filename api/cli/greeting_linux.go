package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/api/client"
	"github.com/mesita/mesita/cluster"
)

// This file is what a node that is ready says to whoever started it: what was done,
// the line for scripts, and last what to type on the next machine.

// welcome is what is to be said, as a daemon in the background tells it its starter.
type welcome struct {
	cluster.Ready
	Took time.Duration
}

// behindEnv is set for a daemon whose starter says in its place that it is ready.
const behindEnv = "MESITA_BEHIND"

// handOver tells the starter, in one line, all that it has to say.
func (a *app) handOver(w welcome) {
	if err := json.NewEncoder(a.out).Encode(w); err != nil {
		fmt.Fprintf(a.err, "! nobody reads that the node is ready: %v\n", err)
	}
}

// welcome has one order, whoever prints it: the join line is last and alone.
func (a *app) welcome(ctx context.Context, w welcome) {
	if w.Joined && isTerminal(a.err) {
		step, warning := a.seat(ctx, w.Ready)
		w.Steps = append(w.Steps, step...)
		w.Warnings = append(w.Warnings, warning...)
	}
	a.greet(w)
	fmt.Fprintf(a.out, "ready name=%s api=%s socket=%s http=%s\n", w.Name, w.API, w.Socket, w.HTTP)
	if w.Made {
		fmt.Fprint(a.err, a.howToAdd(ctx, w.Ready))
	}
}

// greet tells a person what was done, and where the node is.
func (a *app) greet(w welcome) {
	width := columnsOf(a.err)
	fmt.Fprint(a.err, wrapped("✓ "+strings.Join(w.Steps, " · ✓ ")+fmt.Sprintf(" (%.1f s)", w.Took.Seconds()), width))
	for _, s := range w.Warnings {
		fmt.Fprint(a.err, wrapped("! "+s, width))
	}
	fmt.Fprintf(a.err, "  cluster  %s\n  api      %s\n  metrics  %s/metrics\n", w.ClusterName, w.API, w.API)
	if w.Address != "" {
		fmt.Fprintf(a.err, "  address  %s\n", strings.ReplaceAll(w.Address, "; ", ";\n           "))
	}
	fmt.Fprintf(a.err, "  CA       %s\n           as in: curl --cacert %s %s/v1/health\n", w.CA, w.CA, w.API)
	if w.HTTP != "" {
		fmt.Fprintf(a.err, "  http     %s\n", w.HTTP)
	}
}

const (
	seatWait = 3 * time.Second // for the leader to make a voter of a node that joined
	seatLook = 100 * time.Millisecond
)

// seat is what became of a node that joined: a voter, or a worker.
func (a *app) seat(ctx context.Context, r cluster.Ready) (steps, warnings []string) {
	cl, err := client.New(client.Config{Socket: r.Socket})
	if err != nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, seatWait)
	defer cancel()
	for {
		nodes, err := cl.Nodes(ctx, false)
		if err == nil {
			if steps, warnings = seatAmong(nodes, r.Name); steps != nil {
				return steps, warnings
			}
		}
		select {
		case <-ctx.Done():
			return []string{"member"}, nil
		default:
			backoff.Pause(ctx, seatLook)
		}
	}
}

// seatAmong is nil while a node that may vote, and is needed, does not yet.
func seatAmong(nodes []*api.NodeStatus, name string) (steps, warnings []string) {
	var self *api.NodeStatus
	voters, may := 0, 0
	for _, n := range nodes {
		if n.Name == name {
			self = n
		}
		if isVoter(n) {
			voters++
		}
		if !n.WorkerOnly {
			may++
		}
	}
	switch {
	case self == nil:
		return nil, nil
	case isVoter(self):
		steps = []string{fmt.Sprintf("voter %d/%d", voters, max(voters, api.FewVoters))}
	case self.WorkerOnly || voters >= api.VotersOf(may):
		steps = []string{"worker, " + api.Count(voters, "node") + " vote"}
	default:
		return nil, nil
	}
	if voters == 2 {
		warnings = []string{"2 voters tolerate no failure. Add a third node, or a small one with --voter-only"}
	}
	return steps, warnings
}

const (
	firstUses = 10              // machines that may join with the first token
	tokenWait = 5 * time.Second // for the node to make it
)

// addLater is how to add a machine where nobody is to read a token: what is
// printed is kept, as in the journal of a unit.
const addLater = "Add a machine: `mesita node token` on this one prints the command, with a token\n"

// howToAdd shows a terminal the first token, and how to get one elsewhere.
func (a *app) howToAdd(ctx context.Context, r cluster.Ready) string {
	if !isTerminal(a.err) {
		return addLater
	}
	ctx, cancel := context.WithTimeout(ctx, tokenWait)
	defer cancel()
	cl, err := client.New(client.Config{Socket: r.Socket})
	if err != nil {
		return addLater
	}
	g, err := cl.CreateToken(ctx, api.TokenRequest{Kind: api.TokenJoin, Name: "first", Voter: true, MaxUses: firstUses})
	if err != nil {
		return fmt.Sprintf("! no join token yet: %v\n", err) + addLater
	}
	return fmt.Sprintf("Add a machine (token valid 24 h, for %d machines):\n  sudo mesita node join %s --token %s\n",
		firstUses, joinAddr(strings.TrimPrefix(r.API, "https://")), g.Secret)
}
