package cli

import (
	"fmt"
	"io"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/mesita/mesita/cluster"
	"github.com/urfave/cli/v2"
)

func (a *app) clusterCommand() *cli.Command {
	return &cli.Command{
		Name: "cluster", Usage: "the cluster as a whole", Description: example("mesita cluster show"),
		Subcommands: []*cli.Command{a.clusterShow(), a.clusterSet(), a.clusterLevel(), a.clusterCheck(), a.clusterCA(), a.clusterRotateCA(), a.clusterRecover()},
	}
}

func (a *app) clusterSet() *cli.Command {
	return &cli.Command{
		Name: "set", Usage: "change what the cluster holds of itself", Description: "With --no-local-admin root of a machine that does not vote is not an admin: it sees its own\nnode alone, and shows a client token for all else. Root of a voter stays one.\n\n" + example("mesita cluster set --no-local-admin", "mesita cluster set --no-local-admin=false"),
		Flags: []cli.Flag{&cli.BoolFlag{Name: "no-local-admin", Usage: "root of machines that do not vote is not an admin"}, option.DryRunFlag()},
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "cluster set"); err != nil {
				return err
			}
			if !c.IsSet("no-local-admin") {
				return usage("mesita cluster set: nothing is to be changed; see --help")
			}
			off := c.Bool("no-local-admin")
			who := "root of machines that do not vote is an admin"
			if off {
				who = "root of machines that do not vote is not an admin"
			}
			if c.Bool("dry-run") {
				a.progress("would be: %s", who)
				return nil
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			if err := cl.SetCluster(c.Context, api.ClusterChange{NoLocalAdmin: &off}); err != nil {
				return err
			}
			a.progress("%s", who)
			return nil
		},
	}
}

func (a *app) clusterShow() *cli.Command {
	return a.watched(&cli.Command{
		Name: "show", Usage: "show who leads, and whether there is a quorum", Description: example("mesita cluster show -o json"),
		Flags: readFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "cluster show"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			h, well, err := cl.Standing(c.Context)
			if err != nil {
				return err
			}
			if !h.Quorum {
				return a.showWithoutLeader(c, h)
			}
			about, err := cl.Cluster(c.Context)
			if err != nil {
				return err
			}
			v := struct {
				*client.Cluster
				*api.Health
				Leader string `json:"leader"` // both have it
			}{about, h, h.Leader}
			err = one(a.out, c, v, about.Name, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "cluster   %s   %s, %s   made %s ago\nleader    %s   quorum %s\nanswered  %s   mesita %s, index %d\n",
					about.Name, api.Count(about.Nodes, "node"), api.Count(about.Voters, "voter"), age(about.Created), or(h.Leader, "-"), yes(h.Quorum), h.Node, h.Version, h.Index)
				if needsVoters(about) && err == nil {
					_, err = fmt.Fprintf(w, "but       no other node may become a voter, and %d outlive the loss of one: `mesita node promote NAME`\n", api.FewVoters)
				}
				if about.NoLocalAdmin && err == nil {
					_, err = fmt.Fprintln(w, "admins    root of machines that do not vote is none")
				}
				if about.CA.Phase != "" && err == nil {
					_, err = fmt.Fprintf(w, "CA        its key is being changed: %s\n", caText(about.CA))
				}
				if h.Reason != "" && well && err == nil {
					_, err = fmt.Fprintf(w, "but       %s\n", h.Reason)
				}
				return err
			})
			if err == nil && !well {
				err = api.Errorf(api.CodeUnavailable, "%s", h.Reason)
			}
			return err
		},
	})
}

// needsVoters reports whether only a right is missing for voters that outlive the
// loss of one.
func needsVoters(c *client.Cluster) bool {
	return c.MayVote > 0 && c.MayVote <= c.Voters && c.Voters < api.FewVoters && c.Nodes > c.Voters
}

// showWithoutLeader shows what a node says of itself: about the others it may
// know nothing, or what was once true.
func (a *app) showWithoutLeader(c *cli.Context, h *api.Health) error {
	err := one(a.out, c, h, h.Node, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "leader    -   quorum no\nanswered  %s   mesita %s, index %d, %s\n", h.Node, h.Version, h.Index, or(h.Role, "-"))
		return err
	})
	if err != nil {
		return err
	}
	return api.Errorf(api.CodeUnavailable, "%s", h.Reason)
}

func (a *app) clusterRecover() *cli.Command {
	return &cli.Command{
		Name: "recover", Usage: "make this node, which is stopped, the only voter after the majority was lost for good", ArgsUsage: "CLUSTER",
		Description: "It backs the log up first. What other voters had acknowledged and this one had not received is lost.\nAsk for it by the cluster's name. Then start this node. Former nodes that come back\nare refused until they are started with node start --rejoin. The other nodes are asked first, where they\nwere last: while voters, or nodes that know of a leader, answer, it is refused without --force.\n\n" +
			example("mesita cluster recover pine --data /var/lib/mesita"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", EnvVars: []string{"MESITA_DATA"}, Value: cluster.DefaultDataDir, Usage: "data `DIR`"},
			&cli.StringFlag{Name: "listen", Value: fmt.Sprintf("0.0.0.0:%d", cluster.DefaultPort), Usage: "`IP:PORT` of the node's one port"},
			&cli.BoolFlag{Name: "force", Usage: "even while others that may be the majority answer; they are not asked"},
			option.DryRunFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "cluster recover CLUSTER"); err != nil {
				return err
			}
			cfg := cluster.Config{DataDir: c.String("data"), Listen: c.String("listen")}
			if c.Bool("dry-run") {
				if err := cluster.MayRecover(c.Context, cfg, c.Args().First(), c.Bool("force")); err != nil {
					return api.InField("", err)
				}
				a.progress("would make the node in %s the only voter of %s, after a backup of its log; what it did not receive would be lost", cfg.DataDir, c.Args().First())
				return nil
			}
			backup, err := cluster.Recover(c.Context, cfg, c.Args().First(), c.Bool("force"))
			if err != nil {
				return api.InField("", err)
			}
			fmt.Fprintf(a.out, "this node is the only voter now; the log as it was is in %s\n", backup)
			a.progress("start it with `mesita node start`; former nodes that come back take part with `mesita node start --rejoin`, lost ones are removed with `mesita node rm --force`")
			return nil
		},
	}
}
