package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

var doctorColumns = []column[api.Check]{
	{"NODE", func(c api.Check) string { return or(c.Node, "-") }, false},
	{"WHAT", func(c api.Check) string { return c.What }, false},
	{"STATE", func(c api.Check) string { return string(c.State) }, false},
	{"FOUND", func(c api.Check) string { return c.Found }, false},
	{"FIX", func(c api.Check) string { return or(c.Fix, "-") }, true},
}

func (a *app) doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", ArgsUsage: "[ADDRESS[,ADDRESS…]]",
		Usage: "look for what is wrong with the nodes, or with this machine before it is one",
		Description: "Each node looks at its kernel, address, disk, certificate and clock, and at the ways to the others. Where no " +
			"node\nruns, or with the ADDRESS of a node to join, this machine is looked at. Exits with 1 if something fails.\n\n" +
			example("mesita doctor", "mesita doctor --node oak", "mesita doctor 10.0.0.11 --token mst1-pine-…"),
		Flags: readFlags(
			&cli.StringFlag{Name: "node", Usage: "only that `NODE`"},
			&cli.StringFlag{Name: "token", EnvVars: []string{joinTokenEnv},
				Usage: "the join token, `mst1-…`: is the node at ADDRESS of its cluster?"},
			dataFlag(),
			listenFlag(),
		),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 1, "doctor ADDRESS"); err != nil {
				return err
			}
			checks, err := a.examine(c)
			if err != nil {
				return err
			}
			if err := list(a.out, c, checks, func(k api.Check) string { return k.What }, doctorColumns); err != nil {
				return err
			}
			return a.verdict(checks)
		},
	}
}

func (a *app) examine(c *cli.Context) ([]api.Check, error) {
	cl, err := a.client(c)
	if c.NArg() == 0 && !c.IsSet("token") {
		if err != nil {
			return nil, err
		}
		if cl.Remote() || nodeListens(c) {
			return a.examineNodes(c.Context, cl, c.String("node"))
		}
		a.progress("no node runs here: this machine is looked at")
	}
	if c.IsSet("node") {
		return nil, usage("mesita doctor: --node is of the cluster, and no node runs here: leave it out, or give --addr")
	}
	return preflight(c)
}

func (a *app) examineNodes(ctx context.Context, cl *client.Client, node string) ([]api.Check, error) {
	checks, silent, err := cl.Examine(ctx, node)
	if err != nil {
		return nil, err
	}
	for _, s := range silent {
		checks = append(checks, api.Check{Node: s.Node, What: "answer", State: api.CheckFail, Found: s.Reason,
			Fix: "see mesita.log there, or `mesita node rm` if it is gone for good"})
	}
	if node != "" {
		return checks, nil
	}
	nodes, err := cl.Nodes(ctx, false)
	if err != nil {
		return nil, err
	}
	return append(checks, quorumOf(nodes, silent)), nil
}

// quorumOf is how many voters may fail yet, if those that were silent just now are down.
func quorumOf(nodes []*api.NodeStatus, silent []client.SilentNode) api.Check {
	voters, up := 0, 0
	for _, n := range nodes {
		if isVoter(n) {
			voters++
			if isUp(n) && !slices.ContainsFunc(silent, func(s client.SilentNode) bool { return s.Node == n.Name }) {
				up++
			}
		}
	}
	out := api.Check{What: "quorum", State: api.CheckOK}
	spare := up - (voters/2 + 1)
	switch {
	case spare < 0:
		out.State, out.Fix = api.CheckFail, "start the others, or see `mesita cluster recover --help`"
	case spare == 0:
		out.State, out.Fix = api.CheckWarn, "add nodes that may vote (`mesita node token`), or start those that are down"
	}
	out.Found = fmt.Sprintf("%d of %s up: %d may fail", up, api.Count(voters, "voter"), max(spare, 0))
	return out
}

// verdict repeats what is wrong with what to do about it, where a table has no room.
func (a *app) verdict(checks []api.Check) error {
	width, failed := columnsOf(a.err), 0
	for _, k := range checks {
		if k.State == api.CheckOK {
			continue
		}
		where := k.What
		if k.Node != "" {
			where = k.Node + ", " + k.What
		}
		fmt.Fprint(a.err, wrapped(fmt.Sprintf("! %s: %s: %s", where, k.Found, k.Fix), width))
		if k.State == api.CheckFail {
			failed++
		}
	}
	if failed > 0 {
		return api.Errorf(api.CodeFailed, "%s: see above for what to do", api.Count(failed, "failure"))
	}
	return nil
}
