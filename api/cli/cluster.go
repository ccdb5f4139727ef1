package cli

import (
	"fmt"
	"io"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
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
