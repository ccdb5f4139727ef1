package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

// statusRows is how many incidents, and how many rows of what waits, the status shows:
// it is to fit a screen of 24 lines beside three nodes in trouble.
const statusRows = 5

// overview is the cluster in one screen.
type overview struct {
	Cluster  *client.Cluster    `json:"cluster"`
	Health   *api.Health        `json:"health"`
	Nodes    []*api.NodeStatus  `json:"nodes"`
	Tasks    api.PartitionUsage `json:"tasks"` // of all partitions
	Capacity api.Resources      `json:"capacity"`
	Open     []*api.Incident    `json:"incidents"` // the newest that are not over
	Waiting  []*api.Queued      `json:"waiting"`   // the first in line
	tops     []*api.PartitionStatus
	now      time.Time
}

func (a *app) statusCommand() *cli.Command {
	return a.watched(&cli.Command{
		Name: "status", Usage: "show the cluster in one screen: nodes, work, room, failures, what waits",
		Description: example("mesita status", "mesita status -w", "mesita status -o json"),
		Flags:       readFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "status"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			h, _, err := cl.Standing(c.Context)
			if err != nil {
				return err
			}
			if !h.Quorum {
				return a.showWithoutLeader(c, h)
			}
			s, err := overviewOf(c.Context, cl, h)
			if err != nil {
				return err
			}
			return one(a.out, c, s, s.Cluster.Name, s.show)
		},
	})
}

func overviewOf(ctx context.Context, cl *client.Client, h *api.Health) (*overview, error) {
	s := &overview{Health: h}
	var err error
	if s.Cluster, err = cl.Cluster(ctx); err != nil {
		return nil, err
	}
	if s.Nodes, err = cl.Nodes(ctx, false); err != nil {
		return nil, err
	}
	if s.tops, err = cl.Partitions(ctx); err != nil {
		return nil, err
	}
	if s.Open, err = cl.Incidents(ctx, true, "", statusRows); err != nil {
		return nil, err
	}
	if s.Waiting, _, err = cl.Queue(ctx, "", statusRows); err != nil {
		return nil, err
	}
	s.now = cl.Now()
	for _, p := range s.tops {
		if strings.Contains(p.Path, "/") { // its sums are in those of the one above it
			continue
		}
		s.Tasks.Starting += p.Starting
		s.Tasks.Running += p.Running
		s.Tasks.Frozen += p.Frozen
		s.Tasks.Pending += p.Pending
		s.Tasks.Held += p.Held
	}
	for _, n := range s.Nodes {
		if n.State == api.NodeReady || n.State == api.NodeDraining {
			s.Capacity = s.Capacity.Add(n.Resources)
			s.Tasks.Allocated = s.Tasks.Allocated.Add(n.Ledger.Allocated)
		}
	}
	return s, nil
}

func (s *overview) show(w io.Writer) error {
	c := s.Cluster
	fmt.Fprintf(w, "cluster  %s   %s leads   %s\n", c.Name, or(s.Health.Leader, "-"), s.votersText())
	fmt.Fprintf(w, "nodes    %s\n", or(counted(s.Nodes, func(n *api.NodeStatus) string { return n.State.String() }), "-"))
	fmt.Fprintf(w, "tasks    %s\n", tasksText(&s.Tasks))
	fmt.Fprintf(w, "room     cpus %s of %s taken, memory %s of %s taken\n", s.Tasks.Allocated.CPUs, s.Capacity.CPUs, s.Tasks.Allocated.Mem, s.Capacity.Mem)
	for _, n := range s.Nodes {
		if text := nodeTrouble(n, s.now); text != "" {
			fmt.Fprintf(w, "node     %s: %s\n", n.Name, text)
		}
	}
	if len(s.Open) > 0 {
		fmt.Fprintln(w, "\nincidents that are not over, the newest first: see `mesita incidents`")
		if err := table(w, s.Open, incidentColumns, false, true); err != nil {
			return err
		}
	}
	if len(s.Waiting) > 0 {
		fmt.Fprintln(w, "\nwhat waits, the first in line: see `mesita queue`")
		return table(w, s.Waiting, queueColumns, false, true)
	}
	return nil
}

// votersText is how many voters there are, and how many more may fail.
func (s *overview) votersText() string {
	all, up := s.Cluster.Voters, 0
	for _, n := range s.Nodes {
		if isVoter(n) && isUp(n) {
			up++
		}
	}
	text := api.Count(all, "voter")
	if up < all {
		text += fmt.Sprintf(", %d of them up", up)
	}
	if spare := up - (all/2 + 1); spare > 0 {
		return text + fmt.Sprintf(": %d may fail", spare)
	}
	return text + ": none may fail"
}

// nodeTrouble is what is to be looked at of a node, "" if nothing is.
func nodeTrouble(n *api.NodeStatus, now time.Time) string {
	if s := nodeState(n, now); s != api.NodeReady.String() {
		return s
	}
	return ""
}

func tasksText(u *api.PartitionUsage) string {
	out := fmt.Sprintf("%d running", u.Running-u.Frozen)
	for _, more := range []struct {
		n    int
		what string
	}{{u.Starting, "starting"}, {u.Frozen, "frozen"}, {u.Pending - u.Held, "waiting"}, {u.Held, "on hold"}} {
		if more.n > 0 {
			out += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	return out
}

// counted says how many of a list there are of each kind, the most first.
func counted[T any](list []T, kind func(T) string) string {
	n := map[string]int{}
	var kinds []string
	for _, it := range list {
		k := kind(it)
		if n[k]++; n[k] == 1 {
			kinds = append(kinds, k)
		}
	}
	slices.SortStableFunc(kinds, func(a, b string) int { return n[b] - n[a] })
	for i, k := range kinds {
		kinds[i] = fmt.Sprintf("%d %s", n[k], k)
	}
	return strings.Join(kinds, ", ")
}
