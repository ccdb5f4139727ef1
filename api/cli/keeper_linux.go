package cli

import (
	"context"

	"github.com/mesita/mesita/cluster"
	"github.com/urfave/cli/v2"
)

// keep is the life of the process that is the parent of tasks; the daemon starts it.
func (a *app) keep(c *cli.Context) error {
	dropIdle(dropProgram)
	return cluster.KeeperMain(c.Context, cluster.KeeperConfig{Dir: c.String("dir"), Slice: c.String("slice"), CgroupRoot: c.String("cgroup-root"), Log: a.err})
}

// fetch is the process that brings the files of a task into its folder.
func (a *app) fetch(ctx context.Context, word string) (code int, ok bool) {
	if word != cluster.FetchCommand {
		return 0, false
	}
	return cluster.FetchMain(ctx, a.out, a.err), true
}
