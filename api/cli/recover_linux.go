package cli

import (
	"fmt"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster"
	"github.com/urfave/cli/v2"
)

func (a *app) recoverCluster(c *cli.Context) error {
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
	a.progress("start it with `%s`; former nodes that come back take part with `mesita node start --rejoin`, lost ones are removed with `mesita node rm --force`", ofFolder("node start", c.String("data")))
	return nil
}
