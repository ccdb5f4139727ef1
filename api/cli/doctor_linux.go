package cli

import (
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster"
	"github.com/urfave/cli/v2"
)

// nodeListens reports whether a node listens at the socket of this machine.
func nodeListens(c *cli.Context) bool {
	_, err := peerOf(c.Context, or(c.String("socket"), api.DefaultSocket))
	return err == nil
}

// preflight looks at this machine before it is a node.
func preflight(c *cli.Context) ([]api.Check, error) {
	cfg := cluster.Config{DataDir: c.String("data"), Listen: c.String("listen"), Token: c.String("token")}
	if c.NArg() == 1 {
		cfg.JoinAddrs = strings.Split(c.Args().First(), ",")
	}
	return cluster.Preflight(c.Context, cfg)
}
