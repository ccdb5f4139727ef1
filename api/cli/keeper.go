package cli

import (
	"github.com/mesita/mesita/cluster"
	"github.com/urfave/cli/v2"
)

// keeperCommand is the life of the process that is the parent of tasks; the
// daemon starts it.
func (a *app) keeperCommand() *cli.Command {
	return &cli.Command{
		Name: "keeper", Hidden: true, Usage: "run as the parent of a node's tasks (the daemon starts it)",
		Description: example("mesita keeper --dir /var/lib/mesita/keeper --slice mesita.slice"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dir", Required: true, Usage: "the keeper's `DIR`"},
			&cli.StringFlag{Name: "slice", Usage: "top cgroup `NAME`"},
			&cli.StringFlag{Name: "cgroup-root", Usage: "`DIR` where cgroup v2 is mounted"},
		},
		Action: func(c *cli.Context) error {
			dropIdle(dropProgram)
			return cluster.KeeperMain(c.Context, cluster.KeeperConfig{Dir: c.String("dir"), Slice: c.String("slice"), CgroupRoot: c.String("cgroup-root"), Log: a.err})
		},
	}
}
